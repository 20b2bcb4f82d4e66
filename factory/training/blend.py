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

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record
from factory.training.distributed import from_main, is_main
from factory.training.megatron import BlendedDataset, BlendedMegatronDatasetBuilder, GPTDataset, GPTDatasetConfig
from factory.training.mixture import Order, with_shares_of
from factory.training.rows import Batch, segments_of_documents
from factory.training.shards import Shard, check


@dataclass(frozen=True)
class _Tokenizer:
    """What Megatron's datasets ask of a tokenizer."""

    eod: int
    vocab_size: int

    @property
    def unique_identifiers(self) -> dict[str, int]:
        return {"eod": self.eod, "vocab_size": self.vocab_size}


class BlendRows:
    """Rows drawn from shards in proportion to their shares, or, where these change in mid-run, in a given order."""

    def __init__(
        self,
        context: Context,
        shards: list[Shard],
        *,
        rows: int,
        length: int,
        eod: int,
        vocab_size: int,
        mask_documents: bool = False,
        order: Order | None = None,
    ) -> None:
        for shard in shards:
            check(shard)
        if order is not None:
            shards = with_shares_of(shards, order)
        self.shards = [shard for shard in shards if shard.share > 0]
        self.vocab_size, self.eod, self.mask_documents = vocab_size, eod, mask_documents
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
        if order is not None:
            present = np.cumsum([shard.share > 0 for shard in shards]) - 1  # shards without a row are no dataset
            self._rows.dataset_index, self._rows.dataset_sample_index = present[order.shard], order.row
        self.length = length

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Rows `indices` as tokens, labels and loss mask, each [rows, length], with `segments` where documents are masked.

        Raises `SeedmillError` on an id that the tokenizer does not have.
        """
        rows: list[dict[str, Any]] = [self._rows[i] for i in indices]
        batch = {name: torch.stack([row[name] for row in rows]) for name in ("tokens", "labels", "loss_mask")}
        largest = max(int(batch["tokens"].max()), int(batch["labels"].max()))
        if largest >= self.vocab_size:
            raise SeedmillError(
                f"the shards hold token id {largest} but the tokenizer has {self.vocab_size} ids: build the shards with this tokenizer"
            )
        if self.mask_documents:
            batch["segments"] = segments_of_documents(batch["tokens"], self.eod)
        return batch

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
