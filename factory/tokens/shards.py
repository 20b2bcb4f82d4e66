"""The stage `token_shards/CLUSTER`: the documents of one cluster of the mixture as token ids, each ended by `eod`.

The records in `index` say which record became which document of the shard, so that what the trainer saw at any step can be
traced to its text.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b

import pyarrow as pa

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record
from factory.tokens.config import FEEDS, Cluster, LongDocuments, ShardConfig
from factory.tokens.indexed import ShardWriter
from factory.tokens.tokenizer import Tokenizer, load

INDEX = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
    ]
)
"""Which record became which document of a shard, and its tokens, `eod` included."""


def run(context: Context) -> None:
    """Write the folder `shard` (`data.bin`, `data.idx`) and the records `index`."""
    config = context.section(ShardConfig)
    tokenizer = load(context.inputs["tokenizer"].path)
    with ShardWriter(context.out / "shard", tokenizer.vocab_size) as shard:
        context.write_records("index", _index(context, config, tokenizer, shard), INDEX)
    if not shard.documents:
        raise SeedmillError(
            f"cluster {config.cluster!r} has no document: {dict(sorted(context.counts.dropped.items()))}; "
            "give it a source, or take it out of the mixture"
        )
    context.add_file("shard", rows=shard.documents, tokens=shard.tokens)
    context.metrics.update(cluster=config.cluster, documents=shard.documents, tokens=shard.tokens)


def _index(context: Context, config: ShardConfig, tokenizer: Tokenizer, shard: ShardWriter) -> Iterator[Record]:
    """Write the cluster's documents to the shard and yield their index rows, one batch of documents at a time."""
    for feed in FEEDS[config.cluster]:
        fraction = _kept_fraction(context, config, feed)
        for row, tokens in encoded(context, feed, tokenizer, partial(_reason_to_drop, config, feed, fraction)):
            if feed == "clean_documents" and held_out(row, config.cluster, len(tokens), config.long):
                context.drop("held out for evaluation")
                continue
            context.keep()
            yield {"document": shard.add(tokens)[0], "record": row["id"], "tokens": len(tokens)}
            context.progress(shard.documents, shard.documents + 1, "documents", tokens=shard.tokens)


def encoded(
    context: Context, feed: str, tokenizer: Tokenizer, reason_to_drop: Callable[[Record], str | None]
) -> Iterator[tuple[Record, list[int]]]:
    """An input's documents with their token ids, `eod` included; those with a reason to drop are counted and never tokenised."""
    for batch in context.inputs[feed].batches("documents"):
        judged = [(row, reason_to_drop(row)) for row in batch.to_pylist()]
        for reason, number in sorted(Counter(reason for _, reason in judged if reason).items()):
            context.drop(reason, number)
        rows = [row for row, reason in judged if not reason]
        ids = tokenizer.encode_batch((row["text"] for row in rows), threads=context.spec.threads)
        yield from ((row, [*tokens, tokenizer.eod]) for row, tokens in zip(rows, ids, strict=True))


def cluster_of(row: Record, feed: str, sources: dict[str, Cluster]) -> Cluster:
    """The cluster of a document: its own, or its source's where it is organic."""
    if feed == "web_rewrites":
        return "web_rewrites"
    if feed == "synthetic_documents":
        return row["cluster"]
    if row["source"] not in sources:
        raise SeedmillError(f"source {row['source']!r} has no cluster; it is none of {sorted(sources)}: give it one in the recipe")
    return sources[row["source"]]


def held_out(row: Record, cluster: Cluster, tokens: int, long: LongDocuments) -> bool:
    """Whether a naturally long document is kept from all training. It depends on the record alone, so every stage agrees."""
    return cluster in long.clusters and tokens > long.min_tokens and draw(row["id"], "held out") < long.held_out_share


def draw(record: str, purpose: str) -> float:
    """A number in [0, 1) that a record keeps in every run."""
    return int.from_bytes(blake2b(f"{purpose}\x1f{record}".encode(), digest_size=6).digest(), "big") / 2**48


def _reason_to_drop(config: ShardConfig, feed: str, fraction: float, row: Record) -> str | None:
    if cluster_of(row, feed, config.sources) != config.cluster:
        return "another cluster"
    if not row["text"].strip():
        return "empty"
    if feed == "synthetic_documents" and row["kind"] in config.long.synthetic_kinds:
        return "left to midtraining"
    return "above the share of its kind" if draw(row["id"], "share of code") >= fraction else None


def _kept_fraction(context: Context, config: ShardConfig, feed: str) -> float:
    """The fraction of a feed's documents to keep, so that synthetic programs make their share of the code cluster's bytes."""
    if config.cluster != "code":
        return 1.0
    size = {name: _bytes(context, config, name) for name in FEEDS["code"]}
    share = {"synthetic_documents": config.synthetic_code_share, "clean_documents": 1 - config.synthetic_code_share}
    # The feed that is scarce for its share is kept whole and sets the size of the cluster.
    whole = min((size[name] / share[name] for name in size if share[name] > 0), default=0.0)
    return min(1.0, whole * share[feed] / size[feed]) if size[feed] else 0.0


def _bytes(context: Context, config: ShardConfig, feed: str) -> int:
    """UTF-8 bytes of a feed's documents in the code cluster."""
    rows = context.inputs[feed].records("documents")
    return sum(len(row["text"].encode()) for row in rows if cluster_of(row, feed, config.sources) == config.cluster)
