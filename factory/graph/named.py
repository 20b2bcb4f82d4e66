"""The fields of a recipe that name assets. A misspelt one must fail when the recipe is read, not when its stage begins."""

from collections.abc import Collection, Iterator
from typing import Any

from factory.errors import SeedmillError
from factory.recipe import Recipe

KINDS = {
    "start_from": "checkpoint",
    "checkpoint": "checkpoint",
    "checkpoints": "checkpoint",
    "pairs": "pairs",
    "conversations": "conversations",
}
"""What each field names; such an asset's name ends in it."""


def check_names(recipe: Recipe, assets: Collection[str]) -> None:
    """Raise SeedmillError unless each field of training and evaluation that names an asset names one of its kind."""
    sections = {"training": recipe.training.model_dump(), "evaluation": recipe.evaluation.model_dump()}
    for path, kind, value in _names(sections, ""):
        choice = [name for name in assets if name.endswith(f"_{kind}") and "/" not in name]
        if value not in choice:
            raise SeedmillError(f"{path} (value {value!r}): this recipe makes no {kind} of that name; choose one of {', '.join(choice)}")


def _names(section: dict[str, Any], above: str) -> Iterator[tuple[str, str, str]]:
    """(path, kind, value) of every name in a section and those within it."""
    for field, value in section.items():
        path = f"{above}.{field}".removeprefix(".")
        if isinstance(value, dict):
            yield from _names(value, path)
        elif field in KINDS and value is not None:
            yield from ((path, KINDS[field], name) for name in ([value] if isinstance(value, str) else value))
