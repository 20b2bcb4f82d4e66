"""A recipe whose own rules refuse a stage's layout cannot be read, so it has no plan; but a layout that works can still be proposed."""

from math import prod
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from factory.errors import SeedmillError
from factory.plan.build import proposal, remedy
from factory.plan.config import GpuName
from factory.plan.gpus import GPUS
from factory.recipe import Recipe

AXES = ("tensor", "pipeline", "context", "data")


def explain(path: Path, gpu: GpuName | None, error: SeedmillError) -> SeedmillError:
    """The error with a proposal for each layout that the recipe's rules refuse; as it is where something else is wrong."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        layouts = _take_layouts(data)
        recipe = Recipe.model_validate(data)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return error  # no recipe even without its layouts
    found = []
    for name, layout in layouts.items():
        if said := _refusal(data, name, layout):
            better = proposal(recipe, recipe.training.stages[name], GPUS[gpu or recipe.plan.gpu], _world(layout))
            found.append(f"{said}. {remedy(better)}")
    return SeedmillError(f"{path}: {'; '.join(found)}") if found else error


def _take_layouts(data: dict[str, Any]) -> dict[str, Any]:
    """Take the layouts out of a recipe's stages, which leaves one rank each."""
    return {name: stage.pop("layout") for name, stage in data["training"].items() if "layout" in stage}


def _refusal(data: dict[str, Any], name: str, layout: Any) -> str:
    """What the recipe's rules say of one stage's layout; empty when they accept it."""
    stage = {**data["training"][name], "layout": layout}
    try:
        Recipe.model_validate({**data, "training": {**data["training"], name: stage}})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        return f"{place}: {said}" if place else said
    return ""


def _world(layout: Any) -> int:
    """The ranks that a layout asks for, as far as it can be read."""
    ranks = [layout.get(axis, 1) for axis in AXES] if isinstance(layout, dict) else []
    return prod(number for number in ranks if isinstance(number, int) and number > 0)
