"""A stage of the graph: the single truth about an asset, from which status, jobs and the Dagster assets are all made."""

import importlib
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Stage:
    """One asset and the function that makes it.

    `section` is all of the recipe that the stage sees, so it is all that can make it stale. `code_version` is bumped by hand
    when the stage's output changes. `process` gives the stage a process of its own (what needs torch, or ranks); the other
    stages run inside the orchestrator.
    """

    name: str
    group: str
    description: str
    run: str
    section: BaseModel
    inputs: tuple[str, ...] = ()
    code_version: int = 1
    kinds: tuple[str, ...] = ("python",)
    seeded: bool = True
    process: bool = False
    processes: int = 1
    threads: int = 1
    observe: str | None = None
    needs_manifests: bool = False
    runtime: dict[str, Any] = field(default_factory=dict)
    places: frozenset[str] = frozenset()

    @property
    def settings(self) -> dict[str, Any]:
        """The section as JSON: what the job receives."""
        return self.section.model_dump(mode="json")

    @property
    def identity(self) -> dict[str, Any]:
        """The section as the identity hashes it: without `places`, the fields (dotted names) that say where something lies or is done."""
        settings = self.settings
        for place in self.places:
            *path, name = place.split(".")
            reduce(lambda value, key: value.get(key, {}), path, settings).pop(name, None)
        return settings

    def look(self) -> str | None:
        """The version of what the stage reads from outside, as it lies there now; None for one that reads only artefacts."""
        if self.observe is None:
            return None
        module, _, function = self.observe.partition(":")
        return getattr(importlib.import_module(module), function)(self.section)
