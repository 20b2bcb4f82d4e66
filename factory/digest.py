"""Digests of canonical content: what an artefact says, apart from how its files happen to be laid out.

Records are hashed as a set of rows, so part sizes, compression and order do not matter; a file is hashed as its bytes; a
checkpoint as its sorted tensors (name, dtype, shape, unsharded bytes).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no white space)."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one byte string for a JSON value: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


def rows_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over the sorted hashes of rows: the digest of a set of records. Memory: 32 bytes a row."""
    hashes = sorted(hashlib.sha256(canonical_json(row)).digest() for row in rows)
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def parquet_digest(paths: Iterable[Path]) -> tuple[str, int]:
    """The digest of the records in Parquet parts, and how many there are."""
    hashes: list[bytes] = []
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            hashes.extend(hashlib.sha256(canonical_json(row)).digest() for row in batch.to_pylist())
    return hashlib.sha256(b"".join(sorted(hashes))).hexdigest(), len(hashes)


def schema_of(path: Path) -> pa.Schema:
    """The Arrow schema of a Parquet part."""
    return pq.read_schema(path)


def tensors_digest(tensors: Iterable[tuple[str, str, tuple[int, ...], bytes]]) -> str:
    """SHA-256 over (name, dtype, shape, bytes), which must come sorted by name."""
    total = hashlib.sha256()
    last = ""
    for name, dtype, shape, data in tensors:
        if name < last:
            raise ValueError(f"tensor {name!r} came after {last!r}: a digest needs sorted names")
        last = name
        total.update(canonical_json([name, dtype, list(shape)]))
        total.update(data)
    return total.hexdigest()
