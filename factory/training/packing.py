"""Whole examples packed into rows, so that next to nothing is padding and no example sees another.

A *group* is one or more examples that must share a row: a conversation alone, or the two responses of a preference pair.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch

from factory.records import Record
from factory.training.rows import Batch

OPEN_ROWS = 64
PADDING = -1


@dataclass(frozen=True)
class Example:
    """One sequence: inputs, next-token labels, and whether each label counts."""

    tokens: list[int]
    labels: list[int]
    counts: list[bool]

    @classmethod
    def of(cls, ids: Sequence[int], counts: Sequence[bool | int]) -> "Example":
        """From token ids [n] and whether each is to be learned [n]: n - 1 inputs and labels."""
        return cls(list(ids[:-1]), list(ids[1:]), [bool(c) for c in counts[1:]])


@dataclass(frozen=True)
class Group:
    """Examples that share a row, and the index of the record they came from in its asset's stored order."""

    item: int
    examples: tuple[Example, ...]

    @property
    def length(self) -> int:
        """Tokens that the group takes in a row."""
        return sum(len(e.tokens) for e in self.examples)


class PackedRows:
    """Groups packed into rows of `length` tokens: epoch after epoch, each in its own order."""

    def __init__(self, asset: str, groups: list[Group], rows: list[list[int]], length: int) -> None:
        self.asset, self.groups, self.rows, self.length = asset, groups, rows, length

    def __len__(self) -> int:
        return len(self.rows)

    def groups_of(self, indices: Sequence[int]) -> list[Group]:
        """The groups of rows `indices`, in the order in which `batch` numbers their examples."""
        return [self.groups[g] for i in indices for g in self.rows[i]]

    def batch(self, indices: Sequence[int]) -> Batch:
        """Rows `indices`; `segments` numbers the examples of the batch from 0, padding is -1."""
        shape = (len(indices), self.length)
        tokens, labels = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
        segments, mask = torch.full(shape, PADDING, dtype=torch.int64), torch.zeros(shape)
        number = 0
        for row, index in enumerate(indices):
            start = 0
            for example in (e for g in self.rows[index] for e in self.groups[g].examples):
                here = slice(start, start + len(example.tokens))
                tokens[row, here] = torch.tensor(example.tokens)
                labels[row, here] = torch.tensor(example.labels)
                mask[row, here] = torch.tensor(example.counts, dtype=torch.float32)
                segments[row, here] = number
                number, start = number + 1, here.stop
        return {"tokens": tokens, "labels": labels, "loss_mask": mask, "segments": segments}

    def items(self, indices: range) -> Iterator[Record]:
        """The records that rows `indices` were made from, sorted, and their tokens."""
        groups = self.groups_of(indices)
        tokens = sum(group.length for group in groups)
        yield {"asset": self.asset, "items": sorted(group.item for group in groups), "rows": len(indices), "tokens": tokens}


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit packing of items in the given order into rows of `capacity`, with at most `OPEN_ROWS` rows open at a time.

    Every length must be at most `capacity`. Returns the items of each row, rows in the order in which they were opened.
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for item, length in enumerate(lengths):
        first = max(0, len(rows) - OPEN_ROWS)
        row = min((r for r in range(first, len(rows)) if free[r] >= length), key=free.__getitem__, default=None)
        if row is None:
            rows.append([])
            free.append(capacity)
            row = len(rows) - 1
        rows[row].append(item)
        free[row] -= length
    return rows


def epochs_of_rows(groups: list[Group], length: int, *, epochs: int, rows: int | None, multiple: int, random: Random) -> list[list[int]]:
    """The rows of all epochs, each epoch shuffled and packed anew; `rows`, where given, overrides the number of epochs.

    The number of rows is made a multiple of `multiple` (the global batch) with empty rows, which add nothing to a loss.
    """
    packed: list[list[int]] = []
    while (len(packed) < rows) if rows is not None else epochs > 0:
        order = list(range(len(groups)))
        random.shuffle(order)
        packed.extend([order[i] for i in row] for row in pack([groups[i].length for i in order], length))
        epochs -= 1
    packed = packed[:rows]
    return packed + [[] for _ in range(-len(packed) % multiple)]
