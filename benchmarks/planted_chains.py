"""Synthetic answers whose p(success) is known exactly after every token, with pivots planted by size and place.

A chain walks a chance of success from its start to 0 or 1. Every step is a coin: HEADS, of the step's probability, raises the
chance by the step's size, and TAILS lowers it by as much as keeps the mean. The last token, RIGHT or WRONG, decides what the
steps left open.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import log

from factory.sampling.api import Completion, SampleRequest

WRONG, RIGHT, HEADS, TAILS = 0, 1, 2, 3
LONGEST = 256


@dataclass(frozen=True)
class Step:
    """A coin whose heads raises p(success) by `size`, or lowers it where `size` is negative; `undo` takes the step before it back."""

    heads: float
    size: float
    undo: bool = False


@dataclass
class Chain:
    """One question: its kind, its number (the prompt's only token), p(success) at the start, and the steps of every answer."""

    kind: str
    number: int
    start: float
    steps: Sequence[Step]
    lots: random.Random = field(repr=False)

    @property
    def prompt(self) -> tuple[int, ...]:
        return (100 + self.number,)

    @cached_property
    def logs(self) -> list[tuple[float, float]]:
        return [(log(step.heads), log(1 - step.heads)) for step in self.steps]

    def values(self, tokens: Sequence[int]) -> list[float]:
        """p(success) before each token and after the last."""
        values = [self.start]
        for i, token in enumerate(tokens):
            values.append(float(token == RIGHT) if i == len(self.steps) else self._after(i, token, values))
        return values

    def _after(self, i: int, token: int, values: Sequence[float]) -> float:
        step, now = self.steps[i], values[-1]
        size = values[-2] - now if step.undo else step.size
        odds = step.heads / (1 - step.heads)
        rise = min(size, 1 - now, now / odds) if size >= 0 else -min(-size, now, (1 - now) / odds)
        return min(1.0, max(0.0, now + rise if token == HEADS else now - rise * odds))

    def changes(self, tokens: Sequence[int]) -> list[float]:
        """By how much each token changes p(success)."""
        values = self.values(tokens)
        return [after - before for before, after in pairwise(values)]

    def roll(self, prefix: tuple[int, ...]) -> Completion:
        """A completion of an answer."""
        tokens, log_probs = [], []
        values = self.values(prefix)
        for i in range(len(prefix), len(self.steps)):
            heads = self.lots.random() < self.steps[i].heads
            tokens.append(HEADS if heads else TAILS)
            log_probs.append(self.logs[i][not heads])
            values.append(self._after(i, tokens[-1], values))
        right = self.lots.random() < values[-1]
        tokens.append(RIGHT if right else WRONG)
        log_probs.append(log(values[-1] if right else 1 - values[-1]))
        return Completion(tuple(tokens), tuple(log_probs), stopped=True)


def sampler(chains: Sequence[Chain]) -> Callable[[Sequence[SampleRequest]], list[list[Completion]]]:
    """Draws completions of all chains, as an engine would."""
    by_prompt = {chain.prompt: chain for chain in chains}
    return lambda requests: [[by_prompt[r.prompt[:1]].roll(r.prompt[1:]) for _ in range(r.count)] for r in requests]


def plant_chains(number: int, seed: int) -> list[Chain]:
    """`number` chains, the kinds in turn."""
    lots = random.Random(seed)
    kinds = list(KINDS)
    return [
        Chain(kinds[i % len(kinds)], i, lots.uniform(0.3, 0.7), KINDS[kinds[i % len(kinds)]](lots), random.Random(f"{seed} {i}"))
        for i in range(number)
    ]


def _flat(number: int, lots: random.Random) -> list[Step]:
    """Tokens that change nothing: most of them certain to a few percent, some as open as a pivot."""
    return [Step(lots.choice((0.99, 0.97, 0.9, 0.7, 0.5)), 0.0) for _ in range(number)]


def _planted(number: int, length: int, lots: random.Random) -> list[Step]:
    steps = _flat(length, lots)
    for place in lots.sample(range(length), number):
        steps[place] = Step(lots.choice((0.1, 0.3, 0.5, 0.7)), lots.choice((-1, 1)) * lots.choice((0.25, 0.3, 0.4, 0.5, 0.6)))
    return steps


def _one_pivot(lots: random.Random) -> list[Step]:
    return _planted(1, lots.randint(15, 40), lots)


def _several_pivots(lots: random.Random) -> list[Step]:
    return _planted(3, lots.randint(20, 50), lots)


def _under_the_gap(lots: random.Random) -> list[Step]:
    """A walk that ends near 0 or 1 in steps of which each is too small."""
    return [Step(0.5, lots.choice((0.06, 0.08, 0.1, 0.12))) for _ in range(lots.randint(30, 50))]


def _long_and_flat(lots: random.Random) -> list[Step]:
    return _flat(lots.randint(100, 150), lots)


def _cancelling(lots: random.Random) -> list[Step]:
    """A jump taken back by the next token wherever that comes up heads: inside a piece the two can not be seen."""
    steps = _flat(lots.randint(15, 30), lots)
    place = lots.randrange(1, len(steps) - 1)
    steps[place : place + 2] = [Step(0.5, 0.4), Step(0.2, 0.0, undo=True)]
    return steps


KINDS: dict[str, Callable[[random.Random], list[Step]]] = {
    "one pivot": _one_pivot,
    "several pivots": _several_pivots,
    "under the gap": _under_the_gap,
    "long and flat": _long_and_flat,
    "cancelling": _cancelling,
}
