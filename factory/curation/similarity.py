"""Near duplicates: MinHash candidates, each verified by its true Jaccard similarity before anything is deleted.

A document is only ever dropped for its likeness to one that stays. So there are no chains by which unlike documents end in one
cluster, and what was lost can be checked pair by pair. Memory: about 16 bytes a document and band; the shingles lie in a file.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue] - an extension without stubs

from factory.curation.config import DedupConfig
from factory.curation.shingles import Hashes, combined, jaccard, shingles

SIGNATURE_SEED = 20_241_212
"""Fixed: which pairs are compared must not depend on the experiment."""


@dataclass(frozen=True)
class Match:
    """Document `index` resembles the earlier document `kept`."""

    index: int
    kept: int
    jaccard: float


class NearDuplicates:
    """An index of documents, filled in order and then searched once."""

    def __init__(self, config: DedupConfig, folder: Path) -> None:
        """`folder` gets a temporary file with every document's shingles (8 bytes a word)."""
        self._config = config
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the index and deletes itself
        self._ends = [0]
        self._bands: list[Hashes] = []
        self.unverified = 0

    def add(self, texts: Sequence[str]) -> None:
        """Append documents; they are numbered in order from 0."""
        sets = [shingles(text, self._config.shingle_words) for text in texts]
        for values in sets:
            self._file.write(values.tobytes())
            self._ends.append(self._ends[-1] + len(values))
        if sets:
            self._bands.append(self._band_keys(sets))

    def matches(self) -> Iterator[Match]:
        """The documents that resemble an earlier one that is kept, in order."""
        keys = np.concatenate(self._bands) if self._bands else np.zeros((0, self._config.bands), dtype=np.uint64)
        shared = _shared(keys)
        kept: dict[tuple[int, int], list[int]] = {}
        for index in np.flatnonzero(shared.any(axis=1)).tolist():
            buckets = [(band, int(keys[index, band])) for band in np.flatnonzero(shared[index]).tolist()]
            match = self._verified(index, Counter(other for bucket in buckets for other in kept.get(bucket, ())))
            if match:
                yield match
            else:
                self._admit(index, [kept.setdefault(bucket, []) for bucket in buckets])

    def _band_keys(self, sets: list[Hashes]) -> Hashes:
        """A number for each document and band, shape (documents, bands)."""
        config = self._config
        ends = np.cumsum([0, *map(len, sets)], dtype=np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(sets), ends, config.bands * config.rows, SIGNATURE_SEED)
        signature = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(sets), config.bands, config.rows)
        return reduce(combined, np.moveaxis(signature, 2, 0))

    def _verified(self, index: int, candidates: Counter[int]) -> Match | None:
        ranked = sorted(candidates, key=lambda other: (-candidates[other], other))
        self.unverified += max(len(ranked) - self._config.max_candidates, 0)
        for other in ranked[: self._config.max_candidates]:
            similarity = jaccard(self._shingles(index), self._shingles(other))
            if similarity >= self._config.min_jaccard:
                return Match(index, other, similarity)
        return None

    def _admit(self, index: int, buckets: list[list[int]]) -> None:
        for bucket in buckets:
            if len(bucket) < self._config.max_candidates:
                bucket.append(index)

    def _shingles(self, index: int) -> Hashes:
        begin, end = self._ends[index], self._ends[index + 1]
        self._file.seek(begin * 8)
        return np.frombuffer(self._file.read((end - begin) * 8), dtype=np.uint64)


def _shared(keys: Hashes) -> NDArray[np.bool_]:
    """Which entries occur more than once in their column, shape of `keys`."""
    result = np.zeros(keys.shape, dtype=bool)
    for band in range(keys.shape[1]):
        _, inverse, counts = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        result[:, band] = counts[inverse] > 1
    return result
