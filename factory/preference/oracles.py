r"""Oracles: is the answer that a text ends in the right one?

Pivotal token search, judging and evaluation must all agree on what success is, so they all ask here. An oracle reads only
the last stated answer of a text ("Answer: X", "\boxed{X}" or "#### X"): a model that states two answers is held to the
last. Which oracles are asked follows from the known answer: tests ask for code, numbers are compared as exact fractions, so
that no tolerance can turn a near miss into a success, and expressions by their values.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from factory.preference.algebra import equivalent
from factory.preference.code import CodeTests, passes
from factory.preference.quantities import number, quantity

_LINE_MARKERS = re.compile(r"answer:|####", re.IGNORECASE)
_BOX = re.compile(r"\\f?box(?:ed)? *\{")
_LEAD = re.compile(r"(?:so )?(?:the )?(?:final )?answer is:? ", re.IGNORECASE)
_CHOICE = re.compile(r"\(?([A-Z])(?:[).:].*)?")
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox) *\{([^{}]*)\}")


@dataclass(frozen=True)
class Oracle:
    """One way to compare a stated answer with the known one. The version goes up when its verdict on any text may change."""

    name: str
    version: int
    accepts: Callable[[str, str], bool]


def answer_is_correct(text: str, answer: str) -> bool:
    """Whether the last answer that `text` states is `answer`, by any of `ORACLES`; whether its code passes where `answer` holds tests."""
    tests = CodeTests.of(answer)
    if tests is not None:
        return passes(text, tests)
    given = final_answer(text)
    return given is not None and any(oracle.accepts(given, answer) for oracle in ORACLES)


def final_answer(text: str) -> str | None:
    """The last answer that a text states, without mark-up; None where it states none or the statement is empty."""
    boxes = [match.end() for match in _BOX.finditer(text)]
    markers = [match.end() for match in _LINE_MARKERS.finditer(text)]
    if boxes and (not markers or boxes[-1] >= markers[-1]):
        found = _braced(text[boxes[-1] :])
    else:
        found = text[markers[-1] :].split("\n", 1)[0] if markers else None
    return None if found is None else _LEAD.sub("", _plain(found), count=1) or None


def exact(given: str, answer: str) -> bool:
    """Equal as text, apart from mark-up and white space."""
    return _plain(given) == _plain(answer)


def numeric(given: str, answer: str) -> bool:
    """Equal as exact fractions with their units; False where either is no number."""
    left, right = quantity(_plain(given)), quantity(_plain(answer))
    return left is not None and right is not None and left.equals(right)


def algebraic(given: str, answer: str) -> bool:
    """Equal as expressions. Two plain numbers are left to `numeric`."""
    left, right = _plain(given), _plain(answer)
    return not (quantity(left) and quantity(right)) and equivalent(left, right)


def multiple_choice(given: str, answer: str) -> bool:
    """Whether both name the same choice: `B`, `(B)`, `B.` and `B) some text` are one."""
    left, right = (_CHOICE.fullmatch(_plain(side)) for side in (given, answer))
    return left is not None and right is not None and left[1] == right[1]


def plurality(answers: Iterable[str | None]) -> str | None:
    """The answer most often given, when it informs: None when all agree, when none repeats, or when two tie for first.

    Agreement of all means the question is too easy, no repetition that it is too hard or ambiguous (paper, section 2.2).
    Numbers that are equal count as one answer; an unstated answer (None) takes part as disagreement.
    """
    given = list(answers)
    keys = [None if a is None else _plain(a) if (value := number(_plain(a))) is None else value for a in given]
    ranking = Counter(key for key in keys if key is not None).most_common(2)
    if not ranking or not 1 < ranking[0][1] < len(given):
        return None
    if len(ranking) == 2 and ranking[0][1] == ranking[1][1]:
        return None
    return given[keys.index(ranking[0][0])]


def _braced(text: str) -> str | None:
    """The content of a group whose opening brace was just read; None where it is never closed."""
    depth = 1
    for index, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[:index]
    return None


def _plain(text: str) -> str:
    """Text without the mark-up that people put around an answer, and with single spaces."""
    words = _WORDS.sub(r"\1", " ".join(text.split()))
    words = words.replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "")
    return words.strip("*`$ ").removesuffix(".").strip("*`$ ")


ORACLES = (
    Oracle("exact", 1, exact),
    Oracle("numeric", 2, numeric),
    Oracle("choice", 1, multiple_choice),
    Oracle("algebraic", 1, algebraic),
)
"""The oracles of a stated answer, cheapest first."""
CODE_VERSION = 1
VERSIONS = {**{oracle.name: oracle.version for oracle in ORACLES}, "code": CODE_VERSION}
"""What a report says of how success was judged."""
