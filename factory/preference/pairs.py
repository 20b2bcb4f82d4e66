"""From pivots to preference pairs of single tokens (paper, section 4.3 and its footnote 7).

The other side of a pair is a first token of the rollouts that were drawn anyway, in the search and in the verification, to
estimate p(success) before the pivot. It was seen a few times only, so it is judged by the mean of its posterior, which one
lucky rollout moves little.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from factory.digest import canonical_json
from factory.preference.questions import Examiner
from factory.preference.records import preference_pair
from factory.preference.search import TOLERANCE
from factory.preference.tree import Tally
from factory.preference.verify import Tested
from factory.records import Record
from factory.tokens.tokenizer import Tokenizer

CREATED_BY = "pivotal_token_search@2"
REPLACEMENT = "\ufffd"


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

    test: Tested
    chosen: Side
    rejected: Side


def pair_of(test: Tested, gap: float) -> TokenPair | None:
    """The pair that a verified pivot makes with the best (or worst) other token seen in its place; None where none differs enough.

    Enough is half the gap: both estimates are drawn towards 1/2, which narrows what lies between them.
    """
    pivot = test.pivot
    own = _own(test)
    others = [_other(test, token) for token in sorted({*pivot.before.next_tokens, *test.before.next_tokens} - {pivot.token})]
    if not others:
        return None
    if pivot.change.mean > 0:
        chosen, rejected = own, min(others, key=lambda side: (side.success, -side.samples))
    else:
        chosen, rejected = max(others, key=lambda side: (side.success, side.samples)), own
    return TokenPair(test, chosen, rejected) if chosen.success - rejected.success >= gap / 2 - TOLERANCE else None


def pairs_of(tests: Iterable[Tested], gap: float) -> list[TokenPair]:
    """The pairs of the pivots that hold, each pair once: both of its tokens may be pivots, of two searched answers."""
    found: dict[tuple[int, tuple[int, ...], int, int], TokenPair] = {}
    for test in tests:
        pair = pair_of(test, gap) if test.holds else None
        if pair is not None:
            found.setdefault((id(test.tree), test.before.prefix, pair.chosen.token, pair.rejected.token), pair)
    return list(found.values())


def _own(test: Tested) -> Side:
    samples = test.pivot.after.tally + test.after.tally
    success = samples.smoothed if test.after.verdict is None else float(test.after.verdict)
    return Side(test.pivot.token, test.pivot.log_prob, success, samples.samples)


def _other(test: Tested, token: int) -> Side:
    """A token seen beside the pivot, by the samples of the search and of the verification together."""
    seen = [node.next_tokens[token] for node in (test.pivot.before, test.before) if token in node.next_tokens]
    samples = sum((one.tally for one in seen), Tally())
    return Side(token, seen[0].log_prob, samples.smoothed, samples.samples)


def pair_record(pair: TokenPair, question: Record, examiner: Examiner) -> Record:
    """The pair as a PAIR record: the prompt is the query and the answer's prefix, both responses are one token."""
    before, tokenizer = pair.test.before, examiner.tokenizer
    words = {"chosen": tokenizer.decode([pair.chosen.token]), "rejected": tokenizer.decode([pair.rejected.token])}
    chosen, rejected = (_readable(side.token, tokenizer) for side in (pair.chosen, pair.rejected))
    return preference_pair(
        question,
        kind="pivotal_token",
        created_by=CREATED_BY,
        text=f"{question['text']}\n{tokenizer.decode(before.prefix)}\n+{chosen}\n-{rejected}",
        prompt=[*pair.test.tree.prompt, *before.prefix],
        chosen=[pair.chosen.token],
        rejected=[pair.rejected.token],
        evidence=json.dumps(_evidence(pair, words), sort_keys=True),
        part=f"answer-token-{len(before.prefix)}-{_ids([*before.prefix, pair.chosen.token, pair.rejected.token])}",
    )


def _ids(tokens: Sequence[int]) -> str:
    """Tells apart pairs whose text is the same: a model may draw one text in several spellings of ids."""
    return hashlib.blake2b(canonical_json(tokens), digest_size=4).hexdigest()


def _readable(token: int, tokenizer: Tokenizer) -> str:
    """A token as people read it: one that is a part of a character as its bytes."""
    word = tokenizer.decode([token])
    return repr(tokenizer.encoding.decode_single_token_bytes(token) if REPLACEMENT in word else word)


def _evidence(pair: TokenPair, words: dict[str, str]) -> dict[str, object]:
    test, pivot = pair.test, pair.test.pivot
    return {
        "position": len(pivot.before.prefix),
        "pivot": pivot.token,
        "before": {"success": pivot.before.success, "samples": pivot.before.tally.samples},
        "after": {"success": pivot.after.success, "samples": pivot.after.tally.samples},
        "chosen": {"text": words["chosen"], **asdict(pair.chosen)},
        "rejected": {"text": words["rejected"], **asdict(pair.rejected)},
        "fresh": {"change": test.change.mean, "deviation": test.change.deviation, "samples": test.before.tally.samples},
    }
