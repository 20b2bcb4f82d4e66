"""Is a text a refusal? A rule over its wording, and named as such: it finds stated refusals, not evasions."""

import re

REFUSALS = re.compile(
    r"\b("
    r"(do not|don't|don’t|cannot|can't|can’t) (know|help|answer|assist|say|do that|provide|recall|tell)"
    r"|(am|i'm|i’m) (not sure|not able|unable|not aware|not familiar|sorry)"
    r"|(no|not enough|not any) (information|knowledge|record)"
    r"|(cannot|can't|can’t|won't|won’t|will not) (help|do|share|write|continue|discuss|give)"
    r"|have never heard of"
    r")\b",
    re.IGNORECASE,
)
OPENING = 200


def is_refusal(text: str) -> bool:
    """Whether the first 200 characters decline to answer."""
    return REFUSALS.search(text[:OPENING]) is not None


def verdict(text: str, correct: bool) -> str:
    """SimpleQA's three grades: `correct`, `not attempted` (a refusal that holds no right answer), `incorrect`."""
    if correct:
        return "correct"
    return "not attempted" if is_refusal(text) else "incorrect"
