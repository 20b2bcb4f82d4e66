"""Words and word n-grams as 64-bit numbers, the same on every machine (Python's own `hash` is salted)."""

import re
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

WORD = re.compile(r"\w+")
FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
"""Two odd multipliers, so that no bit of a number is lost and the order of a pair counts."""


def word_hashes(text: str) -> Hashes:
    """A number for every word of the lower-cased text, shape (words,)."""
    return np.array([crc32(word.encode()) for word in WORD.findall(text.lower())], dtype=np.uint64)


def ngram_hashes(words: Hashes, size: int) -> Hashes:
    """A number for every run of `size` words, in which their order counts.

    `words` has shape (words, ...), the result (max(words - size + 1, 0), ...).
    """
    if len(words) < size:
        return words[:0]
    width, hashes = 1, words
    while width < size:
        # Two runs that overlap where size is no power of two: as many steps as size has bits, not words.
        step = min(width, size - width)
        hashes = combined(hashes[:-step], hashes[step:])
        width += step
    return hashes


def combined(left: Hashes, right: Hashes) -> Hashes:
    """One number for each pair of numbers, in which their order counts."""
    product = left * FIRST + right * SECOND
    return product ^ (product >> np.uint64(29))


def shingles(text: str, size: int) -> Hashes:
    """The set of a text's word n-grams, sorted, each once; a text shorter than `size` words is one shingle of all its words."""
    words = word_hashes(text)
    return np.unique(ngram_hashes(words, min(size, max(len(words), 1))))


def jaccard(left: Hashes, right: Hashes) -> float:
    """The size of the intersection over that of the union of two sorted sets; 0 for two empty ones."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    union = len(left) + len(right) - shared
    return shared / union if union else 0.0
