"""Training rows from a blend of token shards, by Megatron's own datasets: exact shares, and any step's rows found by index alone.

A row is a run of `sequence_length` + 1 tokens of one shard's documents, end to end in a shuffled order that is a function of
the seed and the shards; so a resumed job needs no position but its step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from factory.context import Context, Input
from factory.errors import SeedmillError
from factory.records import Record
from factory.training.distributed import from_main, is_main
from factory.training.megatron import BlendedDataset, BlendedMegatronDatasetBuilder, GPTDataset, GPTDatasetConfig
from factory.training.rows import Batch


@dataclass(frozen=True)
class Shard:
    """One shard of the blend: the asset whose index names its documents, its file prefix, and its share of all rows."""

    asset: str
    prefix: Path
    share: float


@dataclass(frozen=True)
class _Tokenizer:
    """What Megatron's datasets ask of a tokenizer."""

    eod: int
    vocab_size: int

    @property
    def unique_identifiers(self) -> dict[str, int]:
        return {"eod": self.eod, "vocab_size": self.vocab_size}


def cluster_shards(context: Context, blend: Input) -> list[Shard]:
    """The clusters of a pretraining blend with their shares, in the blend's order."""
    shards = []
    for cluster in blend.json("blend.json")["clusters"]:
        asset = f"token_shards/{cluster['name']}"
        if asset not in context.inputs:
            raise SeedmillError(f"{blend.asset} names cluster {cluster['name']!r} but {asset} is not among this job's inputs")
        shards.append(Shard(asset, context.inputs[asset].file("shard") / "data", float(cluster["share"])))
    return shards


class BlendRows:
    """Rows drawn from shards in proportion to their shares."""

    def __init__(self, context: Context, shards: list[Shard], *, rows: int, length: int, eod: int, vocab_size: int) -> None:
        for shard in shards:
            _check_shard(shard)
        self.shards = [shard for shard in shards if shard.share > 0]
        self.eod = eod
        config = GPTDatasetConfig(
            random_seed=context.seed("blend") % 2**32,
            sequence_length=length,
            blend=([str(s.prefix) for s in self.shards], [s.share for s in self.shards]),
            split="1,0,0",
            path_to_cache=str(_index_folder(context)),
            tokenizer=_Tokenizer(eod, vocab_size),  # type: ignore[arg-type]
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
            create_attention_mask=False,
        )
        self._rows: BlendedDataset = BlendedMegatronDatasetBuilder(GPTDataset, [rows, 0, 0], lambda: True, config).build()[0]  # type: ignore[assignment]
        self.length = length

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Rows `indices` as tokens, labels and loss mask, each [rows, length]."""
        rows: list[dict[str, Any]] = [self._rows[i] for i in indices]
        return {name: torch.stack([row[name] for row in rows]) for name in ("tokens", "labels", "loss_mask")}

    def items(self, indices: range) -> Iterator[Record]:
        """Per shard, the documents (indices within the shard) that rows `indices` touch, and how many tokens they have."""
        datasets = np.asarray(self._rows.dataset_index[indices.start : indices.stop])
        samples = np.asarray(self._rows.dataset_sample_index[indices.start : indices.stop])
        for number, shard in enumerate(self.shards):
            mine = samples[datasets == number]
            if len(mine):
                documents = _documents(cast("GPTDataset", self._rows.datasets[number]), mine)
                yield {"asset": shard.asset, "items": documents, "rows": len(mine), "tokens": len(mine) * self.length}


def _documents(dataset: GPTDataset, samples: np.ndarray) -> list[int]:
    """The sorted documents that samples of one shard touch; a document that only lends a last label counts too."""
    position = dataset.shuffle_index[samples]
    first, last = dataset.sample_index[position, 0], dataset.sample_index[position + 1, 0]
    touched = [dataset.document_index[a : b + 1] for a, b in zip(first, last, strict=True)]
    return np.unique(np.concatenate(touched)).tolist()


def _index_folder(context: Context) -> Path:
    """A folder for Megatron's row indices, emptied first: a killed writer may have left half a file."""
    folder = Path(context.spec.folder) / "rows"
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            path.unlink()
    return from_main(folder)


def _check_shard(shard: Shard) -> None:
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
