"""Corrupted and binary text, found as an outlier in compression ratio and n-gram statistics (section 2.5 of the paper's recipe)."""

import re
import zlib

from factory.curation.config import FilterConfig
from factory.curation.shingles import ngram_hashes, word_hashes

SAMPLE = 200_000
RELIABLE = 1_000
"""Bytes below which a compression ratio says little."""
REPEATED_WORDS = 10

_BROKEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ue000-\uf8ff]")
_SYMBOL = re.compile(r"[^\w\s]|_")


def corruption(text: str, config: FilterConfig, *, code: bool) -> str | None:
    """Why a text is taken for corrupt, or None. Programs may hold more symbols than prose."""
    sample = text[:SAMPLE]
    if symbol_fraction(sample, code=code) > config.max_symbol_fraction:
        return "symbols"
    size, ratio = len(sample.encode()), compression_ratio(sample)
    if size >= RELIABLE and ratio < config.min_compression_ratio:
        return "incompressible"
    if ratio > config.max_compression_ratio or repetition(sample) > config.max_repeated_ngrams:
        return "repetitive"
    return None


def compression_ratio(text: str) -> float:
    """Bytes of UTF-8 over bytes after deflate: near 1 for random data, about 2 to 4 for prose, higher for repetition."""
    data = text.encode()
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return len(data) / max(len(packer.compress(data)) + len(packer.flush()), 1)


def repetition(text: str) -> float:
    """The share of a text's word 10-grams that repeat an earlier one."""
    grams = ngram_hashes(word_hashes(text), REPEATED_WORDS)
    return 1 - len(set(grams.tolist())) / len(grams) if len(grams) else 0.0


def symbol_fraction(text: str, *, code: bool) -> float:
    """The share of characters that no text should hold (control, private, replacement) and, in prose, of all symbols."""
    pattern = _BROKEN if code else _SYMBOL
    marks = len(pattern.findall(text)) + (0 if code else 9 * len(_BROKEN.findall(text)))
    return marks / max(len(text), 1)
