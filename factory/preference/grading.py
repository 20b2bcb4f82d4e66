"""Whether submissions are right, many at once: the interface that oracles and the checker share."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from factory.preference.code import CodeTests
from factory.preference.oracles import answer_is_correct


@dataclass(frozen=True)
class Submission:
    """What somebody answered to a question, the known answer, and further forms of it that are as good."""

    question: str
    text: str
    key: str
    alternates: tuple[str, ...] = ()

    @property
    def tested(self) -> bool:
        """Whether the known answer is tests, which code has to pass."""
        return CodeTests.of(self.key) is not None


Grader = Callable[[Sequence[Submission]], list[bool]]
"""Says of each submission, in order, whether it is right."""


def by_oracles(submissions: Sequence[Submission]) -> list[bool]:
    """The oracles alone: a submission is right by its key or by one of its other forms.

    Code runs in processes of its own, one for each core; the same code is run once.
    """
    tested = list(dict.fromkeys(one for one in submissions if one.tested))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        passed = dict(zip(tested, pool.map(_accepted, tested), strict=True))
    return [passed[one] if one in passed else _accepted(one) for one in submissions]


def _accepted(one: Submission) -> bool:
    return any(answer_is_correct(one.text, form) for form in (one.key, *one.alternates))
