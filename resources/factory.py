"""The one door: an experiment opened from a recipe, and the way to materialize one of its assets.

Store, launcher, teacher and caches are all named by the recipe, so that a command line without Dagster opens the same
ones; this resource hands them on and adds nothing.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from pydantic import Field, PrivateAttr

from factory.errors import explaining_a_full_disk
from factory.experiment import Experiment
from factory.materialize import Materialization, materialize
from factory.recipe import load

Listener = Callable[[dict[str, Any]], None]


class FactoryResource(dg.ConfigurableResource):
    """An experiment: a recipe and a seed. Configurable at launch, so a run from the launchpad can ask for a rebuild."""

    recipe: str = Field(description="path of the recipe file")
    seed: int | None = Field(default=None, description="another seed than the recipe's makes another experiment")
    rebuild: list[str] = Field(default=[], description="assets to build again from nothing and compare with what is stored")
    events: str = Field(default="", description="a file that every message is appended to as a line of JSON, for a live view")

    _experiment: Experiment | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        """Open the experiment anew for each run: one run sees one snapshot of the sources."""
        self._experiment = Experiment.open(load(Path(self.recipe), self.seed))

    @property
    def experiment(self) -> Experiment:
        """The experiment of this run."""
        if self._experiment is None:
            self._experiment = Experiment.open(load(Path(self.recipe), self.seed))
        return self._experiment

    def materialize(self, asset: str, listen: Listener) -> Materialization:
        """Materialize an asset by its short name; `listen` and the event file hear what it says."""

        def hear(message: dict[str, Any]) -> None:
            self.tell(asset, message)
            listen(message)

        self.tell(asset, {"kind": "started"})
        try:
            done = materialize(self.experiment, asset, rebuild=asset in self.rebuild, listen=hear)
        except (KeyboardInterrupt, DagsterExecutionInterruptedError):
            self.tell(asset, {"kind": "failed", "error": "interrupted; the next run goes on from its last finished part"})
            raise
        except BaseException as error:
            self.tell(asset, {"kind": "failed", "error": str(error) or type(error).__name__})
            raise
        manifest = done.manifest
        figures = {"seconds": done.seconds, "rows": manifest.rows, "tokens": manifest.tokens, "bytes": manifest.bytes}
        self.tell(asset, {"kind": "finished", "reused": done.reused, "version": manifest.version, **figures})
        return done

    def tell(self, asset: str, message: dict[str, Any]) -> None:
        """Append a line to the event file, where one was asked for."""
        if self.events:
            with explaining_a_full_disk(Path(self.events)), Path(self.events).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"time": time.time(), **message, "asset": asset}) + "\n")
