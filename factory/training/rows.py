"""What the trainer needs of any data: a number of rows, and the rows of a step by index."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from factory.records import Record

Batch = dict[str, torch.Tensor]
"""`tokens`, `labels` [rows, length] int64 and `loss_mask` [rows, length] float32; where attention must not cross examples also
`segments` [rows, length] int64, which differ between neighbours; objectives may add their own."""


class Rows(Protocol):
    """Training rows, addressed by index: the same index is the same row on every rank, at every layout, after every restart."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int]) -> Batch:
        """Rows `indices`, stacked."""
        ...

    def items(self, indices: range) -> Iterator[Record]:
        """What rows `indices` were made from: `asset`, `items` (indices in that asset's stored order), `rows`, `tokens`."""
        ...


def segments_of_documents(tokens: torch.Tensor, eod: int) -> torch.Tensor:
    """Number the documents of each row: a token after an end of document starts the next one."""
    ended = (tokens == eod).long().cumsum(dim=1)
    return torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], dim=1)
