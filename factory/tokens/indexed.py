"""Megatron-core's indexed dataset (`data.bin`, `data.idx`), written with numpy alone.

megatron-core's own builder needs torch, and importing both costs seconds of CPU in each of the processes that only write
token ids. The layout is that of `megatron/core/datasets/indexed_dataset.py`, version 1; a test reads our files back with it.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

HEADER = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPES: dict[int, type[np.int32 | np.uint16]] = {4: np.int32, 8: np.uint16}
CODES = {dtype: code for code, dtype in DTYPES.items()}
SMALL_VOCAB = 65_500
"""Megatron stores ids in 16 bits below this many, else in 32."""


class ShardWriter:
    """Writes documents one by one into a folder; the index is written on a clean exit, so a killed writer leaves none."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        self.dtype = np.uint16 if vocab_size < SMALL_VOCAB else np.int32
        self.tokens = 0
        self._folder = folder
        self._lengths: list[int] = []

    @property
    def documents(self) -> int:
        """Documents in the index, copies included."""
        return len(self._lengths)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        self._stream = (self._folder / "data.bin").open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()
        if kind is None:
            (self._folder / "data.idx").write_bytes(self._index())

    def add(self, ids: Sequence[int], copies: int = 1) -> range:
        """Append a document, as many times as it shall weigh, and return its indices.

        Copies repeat the bytes: Megatron's own tools compute every pointer from the lengths before it.
        """
        self._stream.write(np.asarray(ids, dtype=self.dtype).tobytes() * copies)
        first = self.documents
        self._lengths += [len(ids)] * copies
        self.tokens += len(ids) * copies
        return range(first, self.documents)

    def _index(self) -> bytes:
        documents = np.arange(self.documents + 1, dtype=np.int64)
        head = HEADER + struct.pack("<QBQQ", VERSION, CODES[self.dtype], self.documents, len(documents))
        lengths = np.asarray(self._lengths, dtype=np.int32)
        ends = np.cumsum(lengths, dtype=np.int64) * np.dtype(self.dtype).itemsize
        pointers = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        return head + lengths.tobytes() + pointers.astype(np.int64).tobytes() + documents.tobytes()
