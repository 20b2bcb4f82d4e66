"""The stage `pretraining_blend`: how many tokens of each cluster training sees, and how often it sees each of them.

Phi-4 fixes shares, not sizes (Table 5): a cluster's epochs follow as the tokens allocated to it over the unique ones it has.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from factory.context import Context
from factory.errors import SeedmillError
from factory.tokens.config import BlendConfig, Cluster


class Available(BaseModel):
    """What a cluster has: documents, and unique tokens with the `eod` of each document."""

    model_config = ConfigDict(frozen=True)
    documents: int
    tokens: int


class BlendEntry(BaseModel):
    """One cluster's row of `blend.json`: its share of training, what it has, and how often that is seen."""

    model_config = ConfigDict(frozen=True)
    name: str
    share: float
    tokens: int
    documents: int
    allocated: int
    epochs: float


def run(context: Context) -> None:
    """Write `blend.json`."""
    config = context.section(BlendConfig)
    entries = allocate(config.shares, available(context), config.total_tokens)
    clusters = [entry.model_dump() for entry in entries]
    context.write_json("blend.json", {"clusters": clusters, "total_tokens": config.total_tokens, "sequence_length": config.sequence_length})
    context.metrics["clusters"] = clusters


def available(context: Context) -> dict[str, Available]:
    """What each input `token_shards/CLUSTER` holds, by its index."""
    names = sorted(name for name in context.inputs if name.startswith("token_shards/"))
    return {name.removeprefix("token_shards/"): _count(context, name) for name in names}


def allocate(shares: Mapping[Cluster, float], has: Mapping[str, Available], total_tokens: int) -> list[BlendEntry]:
    """Table 5: allocated = share x total, epochs = allocated / unique. Clusters of share 0 are left out."""
    wanted = {name: share for name, share in shares.items() if share > 0}
    for name, share in wanted.items():
        if name not in has or not has[name].tokens:
            raise SeedmillError(f"cluster {name!r} has a share of {share:g} but no tokens; give it a source or move its share to another")
    return [entry(name, share, has[name], total_tokens) for name, share in sorted(wanted.items())]


def entry(name: str, share: float, has: Available, total_tokens: int) -> BlendEntry:
    """One row: a cluster's allocated tokens and epochs."""
    allocated = round(share * total_tokens)
    return BlendEntry(
        name=name, share=share, tokens=has.tokens, documents=has.documents, allocated=allocated, epochs=allocated / has.tokens
    )


def _count(context: Context, name: str) -> Available:
    documents = tokens = 0
    for batch in context.inputs[name].batches("index", ["tokens"]):
        documents += batch.num_rows
        tokens += sum(batch.column("tokens").to_pylist())
    return Available(documents=documents, tokens=tokens)
