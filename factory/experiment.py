"""An experiment: a recipe and a seed over a store. It knows which version of each asset it wants, and which it has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from factory.cluster import open_launcher
from factory.cluster.api import Launcher
from factory.errors import SeedmillError
from factory.graph import build, upstream
from factory.graph.stage import Stage
from factory.recipe import Recipe
from factory.store import open_store
from factory.store.base import Store
from factory.store.manifest import Manifest, identity

State = Literal["fresh", "stale", "pending", "missing", "unreadable"]


@dataclass(frozen=True)
class AssetState:
    """Where an asset stands: fresh (the wanted version exists), stale (another one does), pending (an upstream is not fresh,
    so only the rebuild tells), missing (never made by this experiment), unreadable (its source cannot be read just now).
    """

    asset: str
    state: State
    why: str
    version: str | None
    manifest: Manifest | None = None


class Experiment:
    """The graph of a recipe over a store. Cheap to make; it never imports what a stage needs to run.

    One experiment object sees one snapshot of the sources: they are observed once. Make a new one to look again.
    """

    def __init__(self, recipe: Recipe, store: Store, launcher: Launcher) -> None:
        self.recipe = recipe
        self.store = store
        self.launcher = launcher
        self.stages = build(recipe)
        self._observed: dict[str, str | None] = {}

    @classmethod
    def open(cls, recipe: Recipe) -> "Experiment":
        """The experiment with the store and the launcher that its recipe names."""
        return cls(recipe, open_store(recipe.store, recipe.workspace), open_launcher(recipe.cluster, recipe.workspace))

    @property
    def name(self) -> str:
        """The experiment's name: the recipe's, with the seed appended where it is not the recipe's own."""
        return self.recipe.name

    @property
    def workspace(self) -> Path:
        """The folder of caches, runs and the orchestrator's instance."""
        return self.recipe.workspace

    def stage(self, name: str) -> Stage:
        """The stage of an asset, by its short name or as EXPERIMENT/ASSET."""
        short = name.removeprefix(f"{self.name}/")
        if short not in self.stages:
            raise SeedmillError(f"no asset {name!r} in experiment {self.name!r}; it has: {', '.join(self.stages)}")
        return self.stages[short]

    def states(self) -> list[AssetState]:
        """The state of every asset, in the order that data flows."""
        return list(self._walk().values())

    def inputs(self, stage: Stage) -> dict[str, Manifest]:
        """The fresh versions of the stage's upstream assets; an error names what to run where one is not fresh."""
        states = self._walk(stage)
        for name in stage.inputs:
            if states[name].state == "unreadable":
                raise SeedmillError(f"{stage.name} needs {name}, whose source cannot be read: {states[name].why}")
            if states[name].manifest is None:
                raise SeedmillError(f"{stage.name} needs {name}, which is {states[name].state} ({states[name].why}): materialize it first")
        return {name: manifest for name in stage.inputs if (manifest := states[name].manifest)}

    def latest(self, name: str) -> Manifest:
        """The fresh version, or else the one that this experiment materialized last."""
        stage = self.stage(name)
        state = self._walk(stage)[stage.name]
        found = state.manifest or (self.store.manifest(stage.name, state.version) if state.version else None)
        if found is None:
            raise SeedmillError(f"{name} was never materialized by experiment {self.name!r}: run `factory run` first")
        return found

    def wanted(self, stage: Stage, digests: dict[str, str], source_version: str | None) -> str:
        """The version that the stage would make from inputs with these digests."""
        return identity(
            stage.name,
            code_version=stage.code_version,
            section=stage.identity,
            seed=self.recipe.seed if stage.seeded else None,
            source_version=source_version,
            inputs=digests,
        )

    def observe(self, stage: Stage) -> str | None:
        """The version of the stage's source as it lies there now; None for a stage that reads only artefacts."""
        if stage.name not in self._observed:
            self._observed[stage.name] = stage.look()
        return self._observed[stage.name]

    def _walk(self, last: Stage | None = None) -> dict[str, AssetState]:
        """The states of all stages, or of one and what is above it: a source that cannot be read stops only what reads it."""
        states: dict[str, AssetState] = {}
        for stage in upstream(self.stages, {last.name}) if last else self.stages.values():
            states[stage.name] = self._state(stage, states)
        return states

    def _state(self, stage: Stage, above: dict[str, AssetState]) -> AssetState:
        last = self.store.pointer(self.name, stage.name)
        waiting = [name for name in stage.inputs if above[name].state != "fresh"]
        if waiting:
            state: State = "pending" if last else "missing"
            return AssetState(stage.name, state, f"waits for {_few(waiting)}", last)
        inputs = {name: manifest.digest for name in stage.inputs if (manifest := above[name].manifest)}
        try:
            source = self.observe(stage)
        except (SeedmillError, OSError) as error:
            return AssetState(stage.name, "unreadable", str(error), last)
        version = self.wanted(stage, inputs, source)
        manifest = self.store.manifest(stage.name, version)
        if manifest:
            return AssetState(stage.name, "fresh", "", version, manifest)
        if last is None:
            return AssetState(stage.name, "missing", "never materialized", None)
        return AssetState(stage.name, "stale", self._why(stage, last, inputs, source), last)

    def _why(self, stage: Stage, last: str, inputs: dict[str, str], source: str | None) -> str:
        old = self.store.manifest(stage.name, last)
        if old is None:
            return f"its version {last} is gone from the store"
        before = {u.asset: u.digest for u in old.inputs}
        reasons = [f"code version {old.code_version} -> {stage.code_version}"] if old.code_version != stage.code_version else []
        reasons += [f"recipe: {change}" for change in changes(old.section, stage.settings)]
        reasons += [f"new content of {name}" for name, digest in inputs.items() if before.get(name) != digest]
        reasons += [f"no longer reads {name}" for name in before if name not in inputs]
        reasons += ["its source changed"] if old.source_version != source else []
        reasons += ["the seed changed"] if stage.seeded and old.seed != self.recipe.seed else []
        return "; ".join(reasons)


def changes(old: object, new: object, path: str = "") -> list[str]:
    """The differences between two JSON values as `path: old -> new`, depth first."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [line for key in keys for line in changes(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path or 'value'}: {old!r} -> {new!r}"]


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
