"""Rows of JSONL and Parquet, packed or not: streamed in bounded memory, every bad one accounted for by name and reason."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow.parquet as pq

from factory.curation.config import FolderConfig
from factory.curation.files import Entry, Files
from factory.curation.packing import SKIP, form_of, opened
from factory.errors import SeedmillError

FORMS = (".jsonl", ".parquet")


@dataclass(frozen=True)
class Row:
    """The asked fields of one row, as Python values; of JSONL a field may be missing. `locator`: PATH#ID, or PATH#NUMBER from 1."""

    locator: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be read, and why."""

    locator: str
    reason: str


def read_rows(files: Files, entry: Entry, source: FolderConfig, fields: Sequence[str]) -> Iterator[Row | Rejected]:
    """The rows of one file; any other format than JSONL and Parquet is rejected whole."""
    form = form_of(entry.path)
    if form not in FORMS:
        yield Rejected(entry.path, "unsupported_format")
        return
    with opened(files, entry) as stream:
        read = _json_rows if form == ".jsonl" else _parquet_rows
        for item in read(stream, entry.path, source, fields):
            yield item if isinstance(item, Rejected) else _named(item, entry.path, source.id_field)


def text_of(value: object, locator: str) -> str | Rejected:
    """A value as text that a record can hold, or why it is none."""
    if not isinstance(value, str):
        return Rejected(locator, "no_text")
    if not value.strip():
        return Rejected(locator, "empty")
    try:
        f"{locator}{value}".encode()
    except UnicodeEncodeError:  # JSON can escape half a surrogate pair, which no UTF-8 column can hold
        return Rejected(locator, "invalid_unicode")
    return value


def _named(row: Row, path: str, id_field: str) -> Row:
    name = row.values.get(id_field) if id_field else None
    return Row(f"{path}#{name}", row.values) if isinstance(name, str | int) else row


def _json_rows(stream: IO[bytes], path: str, source: FolderConfig, _: Sequence[str]) -> Iterator[Row | Rejected]:
    for number, line in enumerate(_lines(stream, source.max_document_bytes), start=1):
        locator = f"{path}#{number}"
        yield Rejected(locator, "too_long") if line is None else _json_row(line, locator)


def _json_row(line: bytes, locator: str) -> Row | Rejected:
    if not line.strip():
        return Rejected(locator, "empty")
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return Rejected(locator, "invalid_utf8")
    except (ValueError, RecursionError):  # no JSON; a number of more digits than Python converts; lists too deep
        return Rejected(locator, "invalid_json")
    return Row(locator, row) if isinstance(row, dict) else Rejected(locator, "no_text")


def _lines(stream: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """The lines of a stream, of which no more than `limit` bytes are ever held; None stands for a longer one."""
    while line := stream.readline(limit + 1):
        if len(line) <= limit or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(SKIP)) and not rest.endswith(b"\n"):
            pass
        yield None


def _parquet_rows(stream: IO[bytes], path: str, source: FolderConfig, fields: Sequence[str]) -> Iterator[Row | Rejected]:
    with tempfile.TemporaryFile() as file:
        # Parquet is read from its end, and neither an object's stream nor a hashed file can seek.
        shutil.copyfileobj(stream, file, SKIP)
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        columns = [name for name in (*fields, source.id_field) if name]
        names = parquet.schema_arrow.names
        if missing := [name for name in columns if names.count(name) != 1]:
            raise SeedmillError(f"{path!r} has no single column {missing[0]!r}, only {names}; correct the source's fields")
        number = 0
        for batch in parquet.iter_batches(batch_size=64, columns=columns):
            for row in zip(*(batch.column(name) for name in columns), strict=True):
                number += 1
                yield _parquet_row(dict(zip(columns, row, strict=True)), f"{path}#{number}", source.max_document_bytes)


def _parquet_row(cells: Mapping[str, Any], locator: str, limit: int) -> Row | Rejected:
    """A row of Arrow values."""
    try:
        values = {name: cell.as_py() for name, cell in cells.items()}
    except UnicodeDecodeError:  # Arrow takes the file's word for it that a string is UTF-8
        return Rejected(locator, "invalid_utf8")
    return Rejected(locator, "too_long") if _bytes(values) > limit else Row(locator, values)


def _bytes(value: object) -> int:
    """The bytes of all text in a value, however deep it lies."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
