"""The stage `long_context_blend`: what midtraining sees, new long documents beside recall of the pretraining mixture.

Naturally long text beats short samples packed to length (Phi-4, section 3.3), so documents are taken whole: organic ones of
more than N tokens, those of 2N and more up-weighted, and synthetic ones written long on purpose.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record
from factory.tokens.blend import Available, BlendEntry, allocate, available, entry
from factory.tokens.config import Cluster, LongContextConfig
from factory.tokens.indexed import ShardWriter
from factory.tokens.shards import INDEX, cluster_of, encoded, held_out
from factory.tokens.tokenizer import Tokenizer, load

FEEDS = ("clean_documents", "synthetic_documents")


@dataclass
class Build:
    """The two sets of long documents while they are written: one to train on, one that no training sees."""

    long: ShardWriter
    held_out: ShardWriter
    unique: Counter[str] = field(default_factory=lambda: Counter(documents=0, tokens=0))
    held_out_rows: list[Record] = field(default_factory=list)


def run(context: Context) -> None:
    """Write `long` and `index`, `long_held_out` and `held_out_index`, and `blend.json`."""
    config = context.section(LongContextConfig)
    tokenizer = load(context.inputs["tokenizer"].path)
    long, spared = (ShardWriter(context.out / name, tokenizer.vocab_size) for name in ("long", "long_held_out"))
    with long, spared:
        build = Build(long, spared)
        context.write_records("index", _index(context, config, tokenizer, build), INDEX)
    context.write_records("held_out_index", build.held_out_rows, INDEX)
    _check(context, config, build)
    for name, shard in (("long", long), ("long_held_out", spared)):
        context.add_file(name, rows=shard.documents, tokens=shard.tokens)
    _write_blend(context, config, Available.model_validate(build.unique))


def _index(context: Context, config: LongContextConfig, tokenizer: Tokenizer, build: Build) -> Iterator[Record]:
    """Write the long documents to their shards and yield the index rows of those to train on, one for each copy."""
    for feed in FEEDS:
        for row, tokens in encoded(context, feed, tokenizer, partial(_reason_to_drop, config, feed)):
            if len(tokens) <= config.long.min_tokens:
                context.drop("not long")
            elif feed == "clean_documents" and held_out(row, cluster_of(row, feed, config.sources), len(tokens), config.long):
                context.drop("held out for evaluation")
                build.held_out_rows.append(_index_row(build.held_out.add(tokens)[0], row, tokens))
            else:
                context.keep()
                build.unique.update(documents=1, tokens=len(tokens))
                for document in build.long.add(tokens, copies(config, len(tokens))):
                    yield _index_row(document, row, tokens)


def copies(config: LongContextConfig, tokens: int) -> int:
    """How often a document is seen for once of the others: those of 2N tokens and more are up-weighted."""
    return config.upweight if tokens >= 2 * config.long.min_tokens else 1


def _reason_to_drop(config: LongContextConfig, feed: str, row: Record) -> str | None:
    if feed == "synthetic_documents":
        right = row["kind"] in config.long.synthetic_kinds
    else:
        right = cluster_of(row, feed, config.sources) in config.long.clusters
    return None if right else "another cluster or kind"


def _index_row(document: int, row: Record, tokens: list[int]) -> Record:
    return {"document": document, "record": row["id"], "tokens": len(tokens)}


def _check(context: Context, config: LongContextConfig, build: Build) -> None:
    """Raise when there is nothing long, or nothing long held out, or something held out that a shard trains on."""
    if config.long_share and not build.long.documents:
        raise SeedmillError(
            f"long_share is {config.long_share:g} but no document has more than long.min_tokens = {config.long.min_tokens} tokens; lower it"
        )
    share = config.long.held_out_share
    if share and not build.held_out.documents:
        raise SeedmillError(f"no long document is held out: long.held_out_share = {share:g} is too small; raise it, or set it to 0")
    _check_unseen(context, {row["record"] for row in build.held_out_rows})
    context.made("held-out document", build.held_out.documents)
    context.metrics.update(long_documents=build.unique["documents"], long_tokens=build.unique["tokens"], long_copies=build.long.documents)


def _check_unseen(context: Context, records: set[str]) -> None:
    """Raise when a held-out document is in a shard: shards and midtraining were then told different things about what is long."""
    for name in sorted(name for name in context.inputs if name.startswith("token_shards/")):
        for row in context.inputs[name].records("index", ["record"]):
            if row["record"] in records:
                raise SeedmillError(f"held-out document {row['record']} is trained on in {name}; give both the same section `long`")


def _write_blend(context: Context, config: LongContextConfig, long: Available) -> None:
    # Rounded, for (1 - 0.3) x 0.1 is 0.06999999999999999 and stands in reports.
    shares: dict[Cluster, float] = {name: round((1 - config.long_share) * share, 12) for name, share in config.recall.items()}
    recall = allocate(shares, available(context), config.total_tokens)
    rows: list[BlendEntry] = list(recall)
    if config.long_share:
        rows.append(entry("long", config.long_share, long, config.total_tokens))
    blend = {
        "clusters": [row.model_dump() for row in rows],
        "recall": [row.model_dump() for row in recall],
        "long_share": config.long_share,
        "upweight": config.upweight,
        "total_tokens": config.total_tokens,
        "sequence_length": config.sequence_length,
    }
    context.write_json("blend.json", blend)
    context.metrics["clusters"] = blend["clusters"]
