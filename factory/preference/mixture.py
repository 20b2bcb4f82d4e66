"""What the judged round consists of (paper, table 8): how its pairs were chosen, and what part is not about answers at all.

Ties are more frequent by one criterion than by the other, so which comes first follows from the pairs so far, and what still
exceeds its share in the end is cut.
"""

import math
from collections.abc import Mapping, Sequence

from factory.preference.rubric import Criterion
from factory.records import Record

Chosen = tuple[Criterion, Record]
SLACK = 1e-9


def criteria(found: Mapping[Criterion, int], accuracy_share: float) -> list[Criterion]:
    """The criteria of which there is to be a share, the one first that `found` has too little of."""
    accuracy, overall = found.get("accuracy", 0), found.get("overall", 0)
    behind = accuracy <= accuracy_share * (accuracy + overall)
    shares = {"accuracy": accuracy_share, "overall": 1 - accuracy_share}
    return [name for name in sorted(shares, reverse=not behind) if shares[name] > SLACK]


def mixed(pairs: Sequence[Chosen], accuracy_share: float) -> list[Chosen]:
    """The first pairs of either criterion, as many as keep the share of accuracy to within one pair."""
    found = {criterion: sum(own == criterion for own, _ in pairs) for criterion in ("accuracy", "overall")}
    left = {
        "accuracy": _beside(found["overall"], accuracy_share, found["accuracy"]),
        "overall": _beside(found["accuracy"], 1 - accuracy_share, found["overall"]),
    }
    kept: list[Chosen] = []
    for criterion, pair in pairs:
        left[criterion] -= 1
        if left[criterion] >= 0:
            kept.append((criterion, pair))
    return kept


def beside(judged: int, refusals: int, unknown_share: float | None, safety_share: float) -> tuple[int, int]:
    """How many of `refusals` pairs and how many safety pairs go beside the judged ones; without an `unknown_share` all refusals do."""
    most = math.inf if unknown_share is None else unknown_share * judged / (1 - unknown_share)
    kept = int(min(refusals, most * (1 - safety_share) + SLACK))
    return kept, int(kept * safety_share / (1 - safety_share) + SLACK)


def _beside(others: int, share: float, found: int) -> int:
    """How many of `found` may stand beside `others`: at most one more than their share of all."""
    return found if share > 1 - SLACK else min(found, int((share * others + 1) / (1 - share) + SLACK))
