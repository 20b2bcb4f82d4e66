"""The base of every section of a recipe (unknown keys are errors, values are immutable), and how things in it are named."""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """One section of the recipe. A misspelt key must fail before anything runs, hence `extra="forbid"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _part_of_a_key(name: str) -> str:
    """A name that can be a part of an asset's key, of a folder's and of an object's."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", name):
        raise ValueError("a name begins with a letter from a to z; up to 40 such letters, digits, hyphens and underscores follow")
    return name


Name = Annotated[str, AfterValidator(_part_of_a_key)]


def told_apart(what: str, names: Iterable[str]) -> None:
    """Raise where two names would be one to the orchestrator, which writes an underscore for a hyphen."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.replace("-", "_"), name)) != name:
            raise ValueError(f"{what} {other!r} and {name!r} differ in hyphens and underscores alone: rename one")
