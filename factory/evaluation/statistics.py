"""The two statistics of every comparison here: an interval around a share, and a test between paired answers.

A thousand problems leave about three points of uncertainty, so a score without its interval says too little, and two
checkpoints that answered the same problems must be compared problem by problem. Both need only the standard library: the
import of scipy.stats alone would cost an evaluation a seventh of its CPU time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Verdict = Literal["rose", "fell", "no significant change"]


@dataclass(frozen=True)
class Share:
    """A share of n trials with its Wilson interval."""

    correct: int
    n: int
    accuracy: float
    low: float
    high: float


def share(correct: int, n: int, level: float = 0.95) -> Share:
    """The share of successes and its Wilson score interval (Wilson 1927), sound near 0 and 1; nothing tried leaves [0, 1]."""
    if n == 0:
        return Share(0, 0, 0.0, 0.0, 1.0)
    z, p = NormalDist().inv_cdf((1 + level) / 2), correct / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Share(correct, n, p, max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided mid-p value of McNemar's test on the discordant pairs.

    The exact test is too cautious for few pairs; its mid-p form keeps the level in practice (Fagerland, Lydersen, Laake 2013).
    """
    n, fewer = gained + lost, min(gained, lost)
    tail, at = sum(math.comb(n, k) for k in range(fewer)), math.comb(n, fewer)
    if gained == lost:
        return 1.0 if n == 0 else 1 - at / 2**n
    return (2 * tail + at) / 2**n


@dataclass(frozen=True)
class Change:
    """What became of the same problems from one checkpoint to the next."""

    n: int
    before: float
    after: float
    gained: int
    lost: int
    p_value: float
    verdict: Verdict


def paired_change(before: Mapping[str, bool], after: Mapping[str, bool], significance: float = 0.05) -> Change:
    """Compare two checkpoints on the problems (by id) that both answered."""
    common = sorted(before.keys() & after.keys())
    gained = sum(after[key] and not before[key] for key in common)
    lost = sum(before[key] and not after[key] for key in common)
    p_value = mcnemar(gained, lost)
    verdict: Verdict = "no significant change"
    if p_value < significance:
        verdict = "rose" if gained > lost else "fell"
    n = max(1, len(common))
    return Change(len(common), sum(before[k] for k in common) / n, sum(after[k] for k in common) / n, gained, lost, p_value, verdict)
