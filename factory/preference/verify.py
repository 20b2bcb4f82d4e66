"""Verification of pivots by a sequential test on fresh samples, with a stated rate of errors.

A search that keeps what exceeds a threshold keeps lucky estimates with it, so no sample of the search counts here. Every
pivot is tested against "its change is three quarters of the gap or less", in looks at 1, 2, 4, ... times the first number of
rollouts: clear cases, true or false, end at the first look. The error rate is split evenly between the looks, so that looking
again does not raise it. A pivot is dropped at the first look at which the last one is not likely to confirm it: rollouts spent
on a pivot without hope are better spent on other questions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from math import ceil, exp, sqrt
from statistics import NormalDist

from factory.preference.evidence import Change, change_between
from factory.preference.search import TOLERANCE, Draw, Pivot, sample
from factory.preference.tree import AnswerTree, Node

NULL_SHARE = 0.75
"""A pivot is false when its change is below this share of the gap: between that and the gap, neither answer is an error."""


@dataclass(frozen=True)
class Trial:
    """How pivots are tested: the gap, the stated error rate, and the rollouts of the first and the last look at each side."""

    gap: float
    error_rate: float
    samples: int
    most_samples: int
    futile: float = 0.25
    """A test ends when the chance that its last look would confirm the pivot falls below this."""

    @property
    def null(self) -> float:
        """The largest change that is no pivot."""
        return NULL_SHARE * self.gap

    @property
    def looks(self) -> list[int]:
        """How many rollouts each side has at every look."""
        sizes = [self.samples]
        while sizes[-1] < self.most_samples:
            sizes.append(min(2 * sizes[-1], self.most_samples))
        return sizes

    @property
    def sure(self) -> float:
        """The posterior chance of a change above the null from which a pivot holds."""
        return 1 - self.error_rate / len(self.looks)


@dataclass
class Tested:
    """A pivot with fresh nodes before and after it, and what the test says: None while it is undecided."""

    pivot: Pivot
    tree: AnswerTree
    before: Node
    after: Node
    holds: bool | None = field(default=None, init=False)

    @property
    def change(self) -> Change:
        """By how much p(success) changes in the direction that the search saw, by fresh samples only."""
        return change_between(self.before, self.after, exp(self.pivot.log_prob)).towards(self.pivot.change.mean)

    def wanted(self, samples: int) -> list[tuple[AnswerTree, Node, int]]:
        """The rollouts, 2 * `samples` altogether, that give as many which follow the pivot as leave it.

        A rollout from before it is one or the other, by the pivot's own probability, so a probable pivot needs none from after it.
        """
        follow = exp(self.pivot.log_prob)
        before = min(2 * samples, ceil(samples / (1 - follow))) if follow < 1 else 2 * samples
        passing = follow * self.before.lacks(before)
        return [(self.tree, self.before, before), (self.tree, self.after, max(0, ceil(samples - passing - TOLERANCE)))]

    def look(self, trial: Trial, samples: int) -> None:
        """Decide if this look's samples allow it."""
        change = self.change
        if change.chance_above(trial.null) >= trial.sure:
            self.holds = True
        elif _hope(change, samples / trial.most_samples, trial) < trial.futile:
            self.holds = False


def _hope(change: Change, share: float, trial: Trial) -> float:
    """The chance that the last look confirms a change, now known by a `share` of that look's samples; 0 at the last look itself.

    Its deviation will have shrunk by the root of the share, and its mean moved by what is missing to today's.
    """
    if share >= 1 or change.deviation == 0:
        return 0.0
    needed = trial.null + NormalDist().inv_cdf(trial.sure) * change.deviation * sqrt(share)
    return Change(change.mean, change.deviation * sqrt(1 - share)).chance_above(needed)


def verify(pivots: Iterable[Pivot], trial: Trial, draw: Draw) -> list[Tested]:
    """Test every different pivot; one round of the sampler for each look. What the last look leaves undecided does not hold."""
    tests = list(_distinct(pivots))
    for samples in trial.looks:
        undecided = [test for test in tests if test.holds is None]
        sample([side for test in undecided for side in test.wanted(samples)], draw, reuse=True)
        for test in undecided:
            test.look(trial, samples)
    for test in tests:
        test.holds = test.holds is True
    return tests


def _distinct(pivots: Iterable[Pivot]) -> Iterator[Tested]:
    """Each pivot once, since two searched answers may share it, in one tree of fresh samples for every question."""
    fresh: dict[int, AnswerTree] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for pivot in pivots:
        if (id(pivot.tree), pivot.after.prefix) not in seen:
            seen.add((id(pivot.tree), pivot.after.prefix))
            tree = fresh.setdefault(id(pivot.tree), pivot.tree.afresh())
            *_, before, after = tree.path(pivot.after.prefix)
            yield Tested(pivot, tree, before, after)


@dataclass(frozen=True)
class Reliability:
    """Sums over tested pivots, of which the expected rates of errors are made; those of several searches add up."""

    held: int = 0
    held_but_false: float = 0.0
    held_and_true: float = 0.0
    tested_and_true: float = 0.0
    given_up: float = 0.0
    """The pivots that the search itself dropped, by its own expectation."""

    @classmethod
    def of(cls, tests: Sequence[Tested], trial: Trial, given_up: float = 0.0) -> "Reliability":
        """By the posteriors of the fresh samples; true means a change of the gap or more, false one of the null or less."""
        held = [test.change for test in tests if test.holds]
        return cls(
            held=len(held),
            held_but_false=sum(1 - change.chance_above(trial.null) for change in held),
            held_and_true=sum(change.chance_above(trial.gap) for change in held),
            tested_and_true=sum(test.change.chance_above(trial.gap) for test in tests),
            given_up=given_up,
        )

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def false_discovery_rate(self) -> float | None:
        """The share of the verified pivots that is expected to be false; None where there is none."""
        return self.held_but_false / self.held if self.held else None

    @property
    def verification_power(self) -> float | None:
        """The expected share of the true pivots among the tested that were verified; None where none is expected."""
        return self.held_and_true / self.tested_and_true if self.tested_and_true else None

    @property
    def power(self) -> float | None:
        """The expected share of all true pivots that were verified: of the tested and of those that the search gave up."""
        everything = self.tested_and_true + self.given_up
        return self.held_and_true / everything if everything else None
