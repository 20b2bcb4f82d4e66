"""From pivots to preference pairs of single tokens (paper, section 4.3 and its footnote 7).

The other side of a pair is a first token of the rollouts that were drawn anyway to estimate p(success) before the pivot. It
was seen a few times only, so it is judged by the mean of its posterior, which one lucky rollout moves little.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from factory.preference.questions import Examiner, domain_of
from factory.preference.search import TOLERANCE, Draw, Pivot, sample
from factory.preference.tree import Node
from factory.records import Record, new_record

CREATED_BY = "pivotal_token_search@1"


@dataclass(frozen=True)
class Side:
    """One token of a pair: the chance the model gives it, and the estimate of p(success) after it."""

    token: int
    log_prob: float
    success: float
    samples: int


@dataclass(frozen=True)
class TokenPair:
    """Two tokens after the same prefix, of which `chosen` leads to success more often."""

    pivot: Pivot
    chosen: Side
    rejected: Side

    @property
    def prefers_probable(self) -> bool:
        """Whether the model already gives the chosen token the greater chance."""
        return self.chosen.log_prob >= self.rejected.log_prob


def pair_of(pivot: Pivot, gap: float) -> TokenPair | None:
    """The pair that a pivot makes with the best (or worst) other token seen in its place; None where none differs enough.

    Enough is half the gap: both estimates are drawn towards 1/2, which narrows what lies between them.
    """
    own = Side(pivot.token, pivot.log_prob, _estimate(pivot.after), pivot.after.tally.samples)
    others = [
        Side(token, seen.log_prob, seen.tally.smoothed, seen.tally.samples)
        for token, seen in sorted(pivot.before.next_tokens.items())
        if token != pivot.token
    ]
    if not others:
        return None
    if pivot.change > 0:
        chosen, rejected = own, min(others, key=lambda side: (side.success, -side.samples))
    else:
        chosen, rejected = max(others, key=lambda side: (side.success, side.samples)), own
    return TokenPair(pivot, chosen, rejected) if chosen.success - rejected.success >= gap / 2 - TOLERANCE else None


def _estimate(node: Node) -> float:
    return node.tally.smoothed if node.verdict is None else float(node.verdict)


def pairs_of(pivots: Iterable[Pivot], gap: float) -> list[TokenPair]:
    """The pairs of many pivots, each pair once: two searched answers may have found the same pivot."""
    found: dict[tuple[int, tuple[int, ...], int, int], TokenPair] = {}
    for pivot in pivots:
        pair = pair_of(pivot, gap)
        if pair is not None:
            found.setdefault((id(pivot.tree), pivot.before.prefix, pair.chosen.token, pair.rejected.token), pair)
    return list(found.values())


def verify(pairs: Sequence[TokenPair], samples: int, draw: Draw) -> list[tuple[Node, Node]]:
    """Fresh estimates after both tokens of every pair, in one round of `samples` rollouts each.

    A search that keeps what exceeds a threshold keeps lucky estimates with it; only samples drawn afterwards tell.
    """
    sides = [
        (pair.pivot.tree, pair.pivot.tree.apart((*pair.pivot.before.prefix, side.token)))
        for pair in pairs
        for side in (pair.chosen, pair.rejected)
    ]
    sample(sides, samples, draw, reuse=False)
    return [(sides[i][1], sides[i + 1][1]) for i in range(0, len(sides), 2)]


def pair_record(pair: TokenPair, question: Record, examiner: Examiner, fresh: tuple[Node, Node] | None) -> Record:
    """The pair as a PAIR record: the prompt is the query and the answer's prefix, both responses are one token."""
    before, tokenizer = pair.pivot.before, examiner.tokenizer
    words = {name: tokenizer.decode([side.token]) for name, side in (("chosen", pair.chosen), ("rejected", pair.rejected))}
    return new_record(
        source=question["source"],
        locator=f"{question['locator']}#answer-token-{len(before.prefix)}",
        text=f"{question['text']}\n{tokenizer.decode(before.prefix)}\n+{words['chosen']!r}\n-{words['rejected']!r}",
        kind="pivotal_token",
        created_by=CREATED_BY,
        license=question["license"],
        language=question["language"],
        parents=[question["id"]],
        domain=domain_of(question["family"]),
        question=question["id"],
        prompt=[*pair.pivot.tree.prompt, *before.prefix],
        chosen=[pair.chosen.token],
        rejected=[pair.rejected.token],
        evidence=json.dumps(_evidence(pair, words, fresh), sort_keys=True),
    )


def _evidence(pair: TokenPair, words: dict[str, str], fresh: tuple[Node, Node] | None) -> dict[str, object]:
    pivot = pair.pivot
    evidence: dict[str, object] = {
        "position": len(pivot.before.prefix),
        "pivot": pivot.token,
        "before": {"success": pivot.before.success, "samples": pivot.before.tally.samples},
        "after": {"success": pivot.after.success, "samples": pivot.after.tally.samples},
        "chosen": {"text": words["chosen"], **asdict(pair.chosen)},
        "rejected": {"text": words["rejected"], **asdict(pair.rejected)},
    }
    if fresh is not None:
        evidence["fresh"] = {"chosen": fresh[0].success, "rejected": fresh[1].success}
    return evidence
