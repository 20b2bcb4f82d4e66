"""The token shards that a blend draws from, checked before any rank waits on another."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factory.context import Context, Input
from factory.errors import SeedmillError


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
    """The bytes that Megatron's index says its .bin has: magic (9), version (8), dtype code (1), two counts (8 each), lengths."""
    raw = index.read_bytes()
    if len(raw) < 34 or raw[:9] != b"MMIDIDX\x00\x00":
        raise SeedmillError(f"{shard.asset}: {index.name} is not a Megatron index: build the shard again")
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}
    sequences = int.from_bytes(raw[18:26], "little")
    if len(raw) < 34 + 4 * sequences:
        raise SeedmillError(f"{shard.asset}: {index.name} is cut short: build the shard again")
    lengths = np.frombuffer(raw, dtype=np.int32, count=sequences, offset=34)
    return int(lengths.sum(dtype=np.int64)) * sizes[raw[17]]
