"""The part of a section that says how the local engine samples."""

from typing import Literal

from pydantic import Field

from factory.settings import Section


class SamplingConfig(Section):
    """How the local engine runs. Both values can change the last bits of a log-probability, so they belong to the recipe."""

    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """The type of weights and of matrix products; logits and softmax are always float32."""
    slots: int = Field(default=256, ge=1, le=65_536)
    """How many sequences decode side by side."""
