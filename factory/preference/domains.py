"""The domains under which preference pairs are counted and limited (paper, table 7)."""

FAMILIES = {"story": "math", "list": "reasoning", "code": "code", "organic": "reasoning"}
"""The domain of each family of questions."""
GENERAL = "general"
REFUSAL = "unknown + safety"
DOMAINS = frozenset({*FAMILIES.values(), GENERAL, REFUSAL})


def domain_of(family: str) -> str:
    """The domain of a question's family."""
    return FAMILIES.get(family, GENERAL)
