"""What most commands need: the recipe, the store, and the versions that the experiment materialized last."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

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

    @classmethod
    def open(cls, recipe: Path, seed: int | None) -> Self:
        """The session of a recipe file and a seed."""
        loaded = load(recipe, seed)
        return cls(loaded, open_store(loaded.store, loaded.workspace))

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
        return resolve(self.store, self.recipe.name, reference, self.assets)

    def manifests(self) -> list[Manifest]:
        """The versions that the experiment materialized last, in the order that data flows."""
        return materialized(self.store, self.recipe.name, self.assets)

    def report(self) -> dict[str, Any]:
        """The report on the experiment."""
        from factory.lineage.report import read_summary, report

        summary = read_summary(self.runs / "last.json")
        return report(self.store, self.recipe.name, self.assets, self.recipe.evaluation.gate.significance, summary)
