"""What a judge did, and how far its choices follow what they should not: length, place, and its own kind.

FastChat found a judge that prefers the longer answer in two of three cases and turns one verdict in eight when the answers change
places. Where a judge's figures are far from what is fair here, its pairs teach that bias.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from factory.evaluation.statistics import Share, share

FAIR = 0.5


@dataclass(frozen=True)
class Side:
    """One of two compared answers."""

    responder: str
    tokens: int
    right: bool
    """What the oracle says of it; the judge is not told."""


@dataclass
class Report:
    """Counts of one stage; `summary` makes rates of them."""

    judge: str
    questions: int = 0
    malformed: int = 0
    ties: int = 0
    compared: int = 0
    confirmed_by_swap: int = 0
    earlier_chosen: int = 0
    by_criterion: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    chosen: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    chosen_tokens: int = 0
    rejected_tokens: int = 0
    longer: Counter[str] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)
    oracle: Counter[str] = field(default_factory=Counter)

    def compare(self, *, earlier: bool) -> None:
        """A choice in the first order, before the swap: places were drawn by lot, so a fair judge chooses the earlier half the time."""
        self.compared += 1
        self.earlier_chosen += earlier

    def confirm(self, criterion: str, chosen: Side, rejected: Side) -> None:
        """A choice that the reversed order confirmed."""
        self.confirmed_by_swap += 1
        self.by_criterion[criterion] += 1
        self.chosen[chosen.responder] += 1
        self.rejected[rejected.responder] += 1
        self.chosen_tokens += chosen.tokens
        self.rejected_tokens += rejected.tokens
        equal = "equally_right" if chosen.right == rejected.right else "unequal"
        if chosen.tokens != rejected.tokens:
            _tally(self.longer, equal, chosen.tokens > rejected.tokens)
        if (chosen.responder == self.judge) != (rejected.responder == self.judge):
            _tally(self.own, equal, chosen.responder == self.judge)
        if chosen.right != rejected.right:
            _tally(self.oracle, "unequal", chosen.right)


def _tally(counts: Counter[str], kind: str, chosen: bool) -> None:
    counts[f"{kind}_pairs"] += 1
    counts[f"{kind}_chosen"] += chosen


def summary(report: Report) -> dict[str, Any]:
    """The report with its rates; a rate of nothing is None.

    `length_bias`, `position_bias`, `self_preference`: how often the longer, the earlier, the judge's own answer is chosen. Of the
    first and the last also among pairs that are equally right, where nothing but style can excuse it. `oracle_agreement`: how
    often the right one is chosen of a right and a wrong answer.
    """
    return {
        **{name: dict(value) if isinstance(value, Counter) else value for name, value in vars(report).items()},
        "swap_consistency": _share(report.confirmed_by_swap, report.compared),
        "position_bias": _share(report.earlier_chosen, report.compared),
        "length_bias": _rate(report.longer, "equally_right", "unequal"),
        "length_bias_when_equally_right": _rate(report.longer, "equally_right"),
        "self_preference": _rate(report.own, "equally_right", "unequal"),
        "self_preference_when_equally_right": _rate(report.own, "equally_right"),
        "oracle_agreement": _rate(report.oracle, "unequal"),
        "win_rate": {name: _share(report.chosen[name], report.chosen[name] + report.rejected[name]) for name in sorted(report.shown)},
    }


def unfair(figures: Mapping[str, Any]) -> Iterator[tuple[str, Share]]:
    """The biases in a summary whose 95 % interval excludes what is fair, each in words with its counts.

    Length and self-preference count where both answers are equally right: elsewhere the better one may well be the longer.
    """
    longer, own = (figures[name] for name in ("longer", "own"))
    found = {
        "the longer of two equally right answers is chosen": (longer.get("equally_right_chosen", 0), longer.get("equally_right_pairs", 0)),
        "the judge's own of two equally right answers is chosen": (own.get("equally_right_chosen", 0), own.get("equally_right_pairs", 0)),
        "the answer shown earlier is chosen": (figures["earlier_chosen"], figures["compared"]),
    }
    for words, (chosen, pairs) in found.items():
        rate = share(chosen, pairs)
        if not rate.low <= FAIR <= rate.high:
            yield words, rate


def _rate(counts: Counter[str], *kinds: str) -> float | None:
    return _share(sum(counts[f"{kind}_chosen"] for kind in kinds), sum(counts[f"{kind}_pairs"] for kind in kinds))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
