"""Words and word n-grams as 64-bit numbers, the same on every machine (Python's own `hash` is salted)."""

import re
from collections.abc import Iterable
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

WORD = re.compile(r"\w+")
MULTIPLIER = 0x9E3779B97F4A7C15
"""Odd, so that no word's number is lost in the products; the golden ratio's 64 bits spread small numbers well."""


def word_hashes(text: str) -> Hashes:
    """A number for every word of the lower-cased text, shape (words,)."""
    return np.array([crc32(word.encode()) for word in WORD.findall(text.lower())], dtype=np.uint64)


def ngram_hashes(words: Hashes, size: int) -> Hashes:
    """A number for every run of `size` words, in which their order counts; shape (max(words - size + 1, 0),)."""
    count = max(len(words) - size + 1, 0)
    return mixed([words[offset : offset + count] for offset in range(size)])


def mixed(columns: Iterable[Hashes]) -> Hashes:
    """One number for each row of equally long columns; their order counts."""
    result = np.uint64(0)
    for column in columns:
        result = (column + result) * np.uint64(MULTIPLIER)
        result = result ^ (result >> np.uint64(29))
    return np.asarray(result, dtype=np.uint64)


def shingles(text: str, size: int) -> Hashes:
    """The set of a text's word n-grams, sorted, each once; a text shorter than `size` words is one shingle of all its words."""
    words = word_hashes(text)
    return np.unique(ngram_hashes(words, min(size, max(len(words), 1))))


def jaccard(left: Hashes, right: Hashes) -> float:
    """The size of the intersection over that of the union of two sorted sets; 0 for two empty ones."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    union = len(left) + len(right) - shared
    return shared / union if union else 0.0
