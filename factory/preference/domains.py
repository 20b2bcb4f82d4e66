"""The domains under which questions and preference pairs are counted and limited (paper, table 7)."""

from collections.abc import Mapping
from typing import Literal, get_args

Domain = Literal["math", "reasoning", "multiple choice", "python", "other languages", "general"]
"""What questions are about. Table 7 has mathematics, generic multiple choice, Python, and other programming languages."""
REFUSAL = "unknown + safety"
GENERAL: Domain = "general"
QUESTIONS: tuple[Domain, ...] = get_args(Domain)
DOMAINS = frozenset({*QUESTIONS, REFUSAL})
FAMILIES: Mapping[str, Domain] = {**dict(zip(QUESTIONS, QUESTIONS, strict=True)), "story": "math", "list": "reasoning", "code": "python"}
"""The domain of each family; that of a question of one's own is its domain."""


def domain_of(family: str) -> Domain:
    """The domain of a question's family."""
    return FAMILIES.get(family, GENERAL)
