"""Is a text a refusal? A rule over its wording, and named as such: it finds stated refusals, not evasions."""

import re

from factory.preference.stated import statements

REFUSALS = re.compile(
    r"\b("
    r"(do not|don't|don’t|cannot|can't|can’t) (know|help(?! (but|thinking|noticing|feeling))|answer|assist|say|do that|provide|recall|tell)"
    r"|(am|i'm|i’m) (not sure|not able|unable|not aware|not familiar|sorry)"
    r"|(no|not enough|not any) (information|knowledge|record)"
    r"|(cannot|can't|can’t|won't|won’t|will not) (help(?! (but|thinking|noticing|feeling))|do|share|write|continue|discuss|give)"
    r"|have never heard of|have no (idea|clue)|there (is|are|was|were) no such"
    r")\b|^\W*no (idea|clue)\b",
    re.IGNORECASE,
)
_TURN = re.compile(r"\b(but|however|though|perhaps|maybe)\b", re.IGNORECASE)
OPENING = 200
RULE = {"refusal": 2}
"""The version of this rule, as a report names it."""


def is_refusal(text: str) -> bool:
    """Whether the first 200 characters decline to answer."""
    return REFUSALS.search(text[:OPENING]) is not None


def verdict(text: str, correct: bool) -> str:
    """SimpleQA's three grades: `correct`, `not attempted` (a refusal that holds no right answer), `incorrect`."""
    if correct:
        return "correct"
    return "not attempted" if is_refusal(text) and not _answers_all_the_same(text) else "incorrect"


def _answers_all_the_same(text: str) -> bool:
    """Whether an answer is stated in spite of the refusal: before it, or behind a turn such as "but".

    A small model that refuses and then strays into another exercise has refused: what it states there answers no question.
    """
    stated, refused = statements(text), REFUSALS.search(text)
    if not stated or refused is None:
        return False
    return stated[0] < refused.start() or _TURN.search(text, refused.end(), stated[0]) is not None
