"""The base of every section of a recipe: unknown keys are errors, values are immutable."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section of the recipe. A misspelt key must fail before anything runs, hence `extra="forbid"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
