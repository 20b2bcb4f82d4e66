"""What most commands need: the recipe, the store, and the versions that the experiment materialized last."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from factory.cli.proposal import proposal
from factory.graph import build
from factory.lineage.reference import materialized, resolve
from factory.recipe import Recipe, load
from factory.store import open_store
from factory.store.base import Store
from factory.store.manifest import Manifest


@dataclass(frozen=True)
class Session:
    """A recipe over its store, without a look at the sources: what was made is asked of the store alone."""

    recipe: Recipe
    store: Store
    path: Path
    seed: int | None

    @classmethod
    def open(cls, recipe: Path, seed: int | None) -> Self:
        """The session of a recipe file and a seed."""
        loaded = load(recipe, seed)
        return cls(loaded, open_store(loaded.store, loaded.workspace), recipe, seed)

    @cached_property
    def assets(self) -> list[str]:
        """The assets of the graph, in the order that data flows."""
        return list(build(self.recipe))

    @property
    def runs(self) -> Path:
        """The folder of the experiment's runs: their events, logs and the summary of the last one."""
        return self.recipe.workspace / "runs" / self.recipe.name

    def resolve(self, reference: str) -> Manifest:
        """The version that `[EXPERIMENT/]ASSET[@VERSION]` names."""
        return resolve(self.store, self.recipe.name, reference, self.assets, self.how_to_make)

    def command(self, *words: str) -> str:
        """The command line that does something with this experiment."""
        return proposal(*words, recipe=self.path, seed=self.seed)

    def how_to_make(self, experiment: str, asset: str) -> str:
        """How to make an asset of this experiment, of another seed's, or of one with a recipe that is not known here."""
        name, seed = self.recipe.name, self.seed
        if experiment != name:
            base = name.removesuffix(f"-seed{seed}")
            found = re.fullmatch(rf"{re.escape(base)}(?:-seed([0-9]+))?", experiment)
            if not found:
                return f"run `{proposal('run', asset, recipe=Path('RECIPE'), seed=None)}` with the recipe of {experiment!r} first"
            seed = int(found[1]) if found[1] else None
        return f"run `{proposal('run', asset, recipe=self.path, seed=seed)}` first"

    def manifests(self) -> list[Manifest]:
        """The versions that the experiment materialized last, in the order that data flows."""
        return materialized(self.store, self.recipe.name, self.assets)

    def report(self) -> dict[str, Any]:
        """The report on the experiment."""
        from factory.lineage.report import read_summary, report

        summary = read_summary(self.runs / "last.json")
        found = report(self.store, self.recipe.name, self.assets, self.recipe.evaluation.gate.significance, summary)
        return {**found, "commands": {"run": self.command("run"), "chat": self.command("chat", "judged_dpo_checkpoint")}}
