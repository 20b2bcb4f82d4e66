"""Oracles: is the answer that a text ends in the right one?

Pivotal token search, judging and evaluation must all agree on what success is, so they all ask here. An oracle reads only
the last stated answer of a text (`factory.preference.stated`): a model that states two answers is held to the last. Which
oracles are asked follows from the known answer: tests ask for code, numbers are compared as exact fractions, so that no
tolerance can turn a near miss into a success, and expressions by their values.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from factory.preference.algebra import equivalent
from factory.preference.choices import same_choice
from factory.preference.code import CodeTests, passes
from factory.preference.forms import unfinished
from factory.preference.quantities import quantity
from factory.preference.stated import final_answer, plain


@dataclass(frozen=True)
class Oracle:
    """One way to compare a stated answer with the known one. The version goes up when its verdict on any text may change."""

    name: str
    version: int
    accepts: Callable[[str, str], bool]


def answer_is_correct(text: str, answer: str) -> bool:
    """Whether the last answer that `text` states is `answer`, by any of `ORACLES`; whether its code passes where `answer` holds tests."""
    if CodeTests.of(answer) is not None:
        return _passes(text, answer)
    given = final_answer(text)
    return given is not None and any(oracle.accepts(given, answer) for oracle in ORACLES)


@lru_cache(maxsize=4096)  # a judge looks at an answer several times, and each run is a process
def _passes(text: str, answer: str) -> bool:
    tests = CodeTests.of(answer)
    return tests is not None and passes(text, tests)


def equal(left: str, right: str) -> bool:
    """Whether one stated answer is right where the other one is known, by any oracle, in either direction."""
    return any(oracle.accepts(*sides) for oracle in ORACLES for sides in ((left, right), (right, left)))


def exact(given: str, answer: str) -> bool:
    """Equal as text, apart from mark-up and white space."""
    return plain(given) == plain(answer)


def numeric(given: str, answer: str) -> bool:
    """Equal as exact fractions with their units; False where either is no number."""
    left, right = quantity(plain(given)), quantity(plain(answer))
    return left is not None and right is not None and left.equals(right)


def algebraic(given: str, answer: str) -> bool:
    """Equal as expressions. Two plain numbers are left to `numeric`; a calculation that is not carried out is not its result."""
    left, right = plain(given), plain(answer)
    return not (quantity(left) and quantity(right)) and equivalent(left, right) and unfinished(left) == unfinished(right)


def multiple_choice(given: str, answer: str) -> bool:
    """Whether both name the same choice: `B`, `(B)`, `B.` and `B) some text` are one."""
    return same_choice(plain(given), plain(answer))


def plurality(answers: Iterable[str | None]) -> str | None:
    """The answer most often given, when it informs: None when all agree, when none repeats, or when two tie for first.

    Agreement of all means the question is too easy, no repetition that it is too hard or ambiguous (paper, section 2.2).
    Answers that are `equal` count as one; an unstated answer (None) takes part as disagreement. Where answers of the first
    group are alike only by way of a third (`5 m`, `5`, `5 km`), there is no one answer that was given most often: None.
    """
    given = list(answers)
    counts = Counter(plain(answer) for answer in given if answer is not None)
    groups = sorted(_groups(counts), key=lambda group: sum(counts[one] for one in group), reverse=True)
    votes = [sum(counts[one] for one in group) for group in groups[:2]]
    if not votes or not 1 < votes[0] < len(given) or votes[0] in votes[1:] or not _all_equal(groups[0]):
        return None
    return next(answer for answer in given if answer is not None and plain(answer) in groups[0])


def _groups(answers: Mapping[str, int]) -> list[list[str]]:
    """Answers joined by `equal`, directly or by way of others; the order in which they came decides nothing."""
    groups: list[list[str]] = []
    for answer in answers:
        joined = [group for group in groups if any(equal(answer, other) for other in group)]
        groups = [group for group in groups if group not in joined] + [[answer, *(other for group in joined for other in group)]]
    return groups


def _all_equal(group: list[str]) -> bool:
    return all(equal(left, right) for left, right in combinations(group, 2))


ORACLES = (
    Oracle("exact", 1, exact),
    Oracle("numeric", 3, numeric),
    Oracle("choice", 3, multiple_choice),
    Oracle("algebraic", 2, algebraic),
)
"""The oracles of a stated answer, cheapest first."""
CODE_VERSION = 3
PLURALITY_VERSION = 2
VERSIONS = {**{oracle.name: oracle.version for oracle in ORACLES}, "code": CODE_VERSION, "plurality": PLURALITY_VERSION}
"""What a report says of how success was judged."""
REVISION = sum(VERSIONS.values())
"""A part of the code version of every stage that grades: what was judged otherwise is stale."""
