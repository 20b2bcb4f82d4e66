"""The stage `long_context_evaluation`: what midtraining did for positions far into a document.

Two measures. Loss by position on long documents that no training saw: it falls with position only if the model uses what
stands far back. And recall of a value by its key from a long list (the paper chooses HELMET's tasks over needle tests,
section 3.3; of them only recall is within reach of a tiny model, which may well score nothing: the number is reported as
it is, beside its chance level).
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

from factory.context import Context
from factory.errors import SeedmillError
from factory.evaluation.candidate import Candidate
from factory.evaluation.config import LongContextConfig
from factory.evaluation.statistics import share
from factory.tokens.indexed import SMALL_VOCAB
from factory.tokens.tokenizer import Tokenizer, load

KEYS, VALUES = 1000, 100
REPLY_TOKENS = 4
SPARE = 64

Score = dict[str, Any]


def run(context: Context) -> None:
    """Write `scores.json`: for every checkpoint loss by bucket and recall by length and depth."""
    config = context.section(LongContextConfig)
    documents = _documents(context, config, load(context.inputs["tokenizer"].path).vocab_size)
    scores: dict[str, Score] = {}
    for done, checkpoint in enumerate(config.checkpoints):
        positions = max(config.context, *config.recall_lengths) + SPARE
        candidate = Candidate.open(context, checkpoint, config.sampling, positions)
        scores[checkpoint] = {"loss": loss_by_bucket(candidate, documents, config), "recall": recall(candidate, config, context)}
        context.progress(done + 1, len(config.checkpoints), "checkpoints")
    before, after = (scores[name]["loss"][-1]["mean"] for name in (config.checkpoints[0], config.checkpoints[-1]))
    context.write_json(
        "scores.json",
        {"checkpoints": scores, "documents": len(documents), "recall_chance": 1 / VALUES, "last_bucket_gain": before - after},
    )
    context.metrics.update(last_bucket_gain=before - after, documents=len(documents))


def _documents(context: Context, config: LongContextConfig, vocab_size: int) -> list[tuple[int, ...]]:
    """The first `context` tokens of some held-out long documents, drawn by the seed; the rest count as dropped."""
    blend = context.inputs["long_context_blend"]
    lengths = [row["tokens"] for row in blend.records("held_out_index", columns=["tokens"])]
    if len(lengths) < 2:
        raise SeedmillError(f"{blend.asset} holds out {len(lengths)} long documents: two are needed, so raise long.held_out_share")
    drawn = sorted(context.random("documents").sample(range(len(lengths)), min(config.documents, len(lengths))))
    context.keep(len(drawn))
    if len(drawn) < len(lengths):
        context.drop("not drawn", len(lengths) - len(drawn))
    # Read with numpy: Megatron's own reader costs 2.8 s of imports, for a file whose lengths the index already gives.
    tokens = np.memmap(blend.file("long_held_out") / "data.bin", dtype=np.uint16 if vocab_size < SMALL_VOCAB else np.int32, mode="r")
    starts = np.cumsum([0, *lengths])
    return [tuple(map(int, tokens[starts[i] : starts[i] + min(lengths[i], config.context)])) for i in drawn]


def loss_by_bucket(candidate: Candidate, documents: Sequence[tuple[int, ...]], config: LongContextConfig) -> list[Score]:
    """For each bucket of positions the mean loss (nats a token) over documents, with its standard error and their number.

    Each document counts once in a bucket that it reaches, however many tokens it has there: tokens of one document are
    not independent.
    """
    losses = [[-value for value in row] for row in candidate.sampler.log_probs(documents)]
    scores = []
    for start, end in zip(config.buckets, (*config.buckets[1:], config.context), strict=True):
        # A token at position p is predicted by the p tokens before it; the first value belongs to position 1.
        means = [fmean(row[max(start, 1) - 1 : end - 1]) for row in losses if len(row) >= max(start, 1)]
        if len(means) < 2:
            raise SeedmillError(f"{len(means)} held-out documents reach position {start}: lower long_context.buckets or hold out more")
        scores.append(
            {"from": start, "to": end, "mean": fmean(means), "standard_error": stdev(means) / len(means) ** 0.5, "documents": len(means)}
        )
    return scores


@dataclass(frozen=True)
class Riddle:
    """A list of keys and values that ends in a key of its own, and the value that should follow."""

    length: int
    depth: float
    prompt: tuple[int, ...]
    value: str


def recall(candidate: Candidate, config: LongContextConfig, context: Context) -> list[Score]:
    """For each length of list, and within it for each depth, the share of keys whose value comes next, with its interval."""
    riddles = list(_riddles(candidate, config, context.random("recall")))
    prompts = [riddle.prompt for riddle in riddles]
    replies = candidate.ask(prompts, temperature=0.0, max_new_tokens=REPLY_TOKENS, seed=0)
    right = {riddle: first_number(reply.text) == riddle.value for riddle, (reply,) in zip(riddles, replies, strict=True)}
    return [{"length": length, **_share(right, length=length), "depths": _by_depth(right, length)} for length in config.recall_lengths]


def first_number(text: str) -> str | None:
    """The first number that a text holds, as written."""
    found = re.search(r"\d+", text)
    return found[0] if found else None


def _riddles(candidate: Candidate, config: LongContextConfig, generator: random.Random) -> Iterator[Riddle]:
    for length in config.recall_lengths:
        for step in range(config.recall_depths):
            for _ in range(config.recall_samples):
                yield riddle(candidate.tokenizer, length, step / (config.recall_depths - 1), generator)


def riddle(tokenizer: Tokenizer, length: int, depth: float, generator: random.Random) -> Riddle:
    """A list of at most `length` tokens, the wanted pair at `depth` of it: 0 at its start, 1 at its end."""
    tokens_a_line = len(tokenizer.encode("key 100: 100\n"))
    count = max(2, min(KEYS, length // tokens_a_line - 1))
    pairs = [(key, generator.randrange(VALUES)) for key in generator.sample(range(KEYS), count)]
    key, value = pairs[round(depth * (count - 1))]
    lines = "".join(f"key {name}: {held}\n" for name, held in pairs)
    return Riddle(length, depth, tuple(tokenizer.encode(f"{lines}key {key}:")), str(value))


def _by_depth(right: Mapping[Riddle, bool], length: int) -> list[Score]:
    depths = sorted({riddle.depth for riddle in right})
    return [{"depth": depth, **_share(right, length=length, depth=depth)} for depth in depths]


def _share(right: Mapping[Riddle, bool], **where: float) -> Score:
    chosen = [found for riddle, found in right.items() if all(getattr(riddle, name) == value for name, value in where.items())]
    return asdict(share(sum(chosen), len(chosen)))
