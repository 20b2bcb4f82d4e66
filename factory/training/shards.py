"""The token shards that a blend draws from, checked before any rank waits on another."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factory.context import Context, Input
from factory.errors import SeedmillError

MAGIC = b"MMIDIDX\x00\x00"
HEAD = 34
ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}
"""The size of a token by Megatron's dtype code."""


@dataclass(frozen=True)
class Shard:
    """One shard of the blend: the asset whose index names its documents, its file prefix, and its share of all rows."""

    asset: str
    prefix: Path
    share: float


def cluster_shards(context: Context, blend: Input) -> list[Shard]:
    """The clusters of a pretraining blend with their shares, in the blend's order."""
    shards = []
    for cluster in blend.json("blend.json")["clusters"]:
        asset = f"token_shards/{cluster['name']}"
        if asset not in context.inputs:
            raise SeedmillError(f"{blend.asset} names cluster {cluster['name']!r} but {asset} is not among this job's inputs")
        shards.append(Shard(asset, context.inputs[asset].file("shard") / "data", float(cluster["share"])))
    return shards


def check(shard: Shard) -> None:
    """Raise when a shard's files are missing or its bytes do not match its index, before any rank waits on another."""
    data, index = shard.prefix.with_suffix(".bin"), shard.prefix.with_suffix(".idx")
    for path in (data, index):
        if not path.exists():
            raise SeedmillError(f"{shard.asset} holds no {path.name} at {path.parent}: build the shard again")
    expected = _indexed_bytes(shard, index)
    if data.stat().st_size != expected:
        raise SeedmillError(
            f"{shard.asset}: {data.name} has {data.stat().st_size} bytes but its index counts {expected}: build the shard again"
        )
    if expected == 0:
        raise SeedmillError(f"{shard.asset} has no tokens but a share of {shard.share}: give it documents or a share of 0")


def _indexed_bytes(shard: Shard, index: Path) -> int:
    """The bytes that a shard's .bin has by its index, once that is whole and agrees with itself.

    An index is magic (9 bytes), version (8), dtype code (1) and two counts (8 each), then each sequence's length (4), each
    sequence's offset in the .bin (8), and where each document begins among the sequences (8), with their number at the end.
    """
    raw = index.read_bytes()
    if len(raw) < HEAD or raw[:9] != MAGIC or raw[17] not in ITEM_BYTES:
        raise SeedmillError(f"{shard.asset}: {index.name} is not a Megatron index: build the shard again")
    sequences, documents = (int.from_bytes(raw[at : at + 8], "little") for at in (18, 26))
    expected = HEAD + 12 * sequences + 8 * documents
    if len(raw) != expected:
        raise SeedmillError(f"{shard.asset}: {index.name} has {len(raw)} bytes but its counts ask for {expected}: build the shard again")
    sizes = np.frombuffer(raw, np.int32, sequences, HEAD).astype(np.int64) * ITEM_BYTES[raw[17]]
    offsets = np.frombuffer(raw, np.int64, sequences, HEAD + 4 * sequences)
    begins = np.frombuffer(raw, np.int64, documents, HEAD + 12 * sequences)
    if not (_runs_through(begins, sequences) and np.array_equal(np.cumsum(sizes) - sizes, offsets)):
        raise SeedmillError(f"{shard.asset}: {index.name} contradicts itself: build the shard again")
    return int(sizes.sum())


def _runs_through(begins: np.ndarray, sequences: int) -> bool:
    """Whether documents begin at rising sequences, from the first, and end with the last."""
    return bool(len(begins) and begins[0] == 0 and begins[-1] == sequences and (np.diff(begins) > 0).all())
