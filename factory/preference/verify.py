"""Verification of pivots by a sequential test on fresh samples, with a stated rate of errors.

A search that keeps what exceeds a threshold keeps lucky estimates with it, so no sample of the search counts here. Every
pivot is tested against "its change is three quarters of the gap or less", in looks at 1, 2, 4, ... times the first number of
rollouts: clear cases, true or false, end at the first look, and only doubtful ones get the most. The error rate is split
evenly between the looks, so that looking again does not raise it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp

from factory.preference.evidence import Change, change_between
from factory.preference.search import Draw, Pivot, sample
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
    futile: float = 0.2
    """A test ends when the chance that the change is the gap or more falls below this."""

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

    def look(self, trial: Trial) -> None:
        """Decide if the samples allow it."""
        change = self.change
        if change.chance_above(trial.null) >= 1 - trial.error_rate / len(trial.looks):
            self.holds = True
        elif change.chance_above(trial.gap) < trial.futile:
            self.holds = False


def verify(pivots: Iterable[Pivot], trial: Trial, draw: Draw) -> list[Tested]:
    """Test every different pivot; one round of the sampler for each look. What the last look leaves undecided does not hold."""
    tests = list(_distinct(pivots))
    for samples in trial.looks:
        undecided = [test for test in tests if test.holds is None]
        sides = {id(node): (test.tree, node, samples) for test in undecided for node in (test.before, test.after)}
        sample(list(sides.values()), draw, reuse=True)
        for test in undecided:
            test.look(trial)
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


def false_discovery_rate(tests: Sequence[Tested], trial: Trial) -> float | None:
    """The share of the verified pivots that is expected to be false, by their posteriors; None where there is none."""
    held = [1 - test.change.chance_above(trial.null) for test in tests if test.holds]
    return sum(held) / len(held) if held else None


def power(tests: Sequence[Tested], trial: Trial, given_up: float = 0.0) -> float | None:
    """The expected share of the true pivots that were verified, among those tested and the `given_up` that the search dropped."""
    chances = {id(test): test.change.chance_above(trial.gap) for test in tests}
    everything = sum(chances.values()) + given_up
    return sum(chances[id(test)] for test in tests if test.holds) / everything if everything else None
