"""File formats: from a stream of bytes to raw documents, in bounded memory, every bad record accounted for.

A bad record (a line too long, bytes that are not UTF-8, JSON without the field) is rejected by name and counted. A broken
container (gzip, zstd, Parquet) is an error: how many records are behind the break cannot be known.
"""

import gzip
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from factory.curation.config import SourceConfig
from factory.curation.files import Entry, Files
from factory.errors import SeedmillError

MEDIA = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "text",
    ".py": "code",
}
SKIP = 1 << 20


@dataclass(frozen=True)
class RawDocument:
    """A document as it lies in its source. `media`: html, text, markdown or code."""

    locator: str
    media: str
    text: str


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be read, and why."""

    locator: str
    reason: str


def read_entry(files: Files, entry: Entry, source: SourceConfig) -> Iterator[RawDocument | Rejected]:
    """The documents of one file, streamed; the format is told by the name (`.jsonl.gz`, `.parquet`, `.md`)."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(entry.path).suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in (".gz", ".zst") else ""
    form = suffixes[-1] if suffixes else ""
    if form not in (".jsonl", ".parquet", *MEDIA):
        yield Rejected(entry.path, "unsupported_format")
        return
    try:
        with files.reading(entry) as packed:
            stream = _unpacked(packed, packing)
            if form == ".jsonl":
                yield from _json_lines(stream, entry.path, source)
            elif form == ".parquet":
                yield from _parquet_rows(stream, entry.path, source)
            else:
                yield _whole_file(stream, entry.path, MEDIA[form], source.max_document_bytes)
    except (EOFError, OSError, zlib.error, zstandard.ZstdError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's error, a full disk say; those that gzip and Arrow raise of broken data have no number
        what = " ".join(str(error).split())
        raise SeedmillError(f"source file {entry.path!r} is broken ({what}); replace it, or leave it out by `include`") from error


def _unpacked(stream: IO[bytes], packing: str) -> IO[bytes]:
    if packing == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    if packing == ".zst":
        return io.BufferedReader(cast("io.RawIOBase", _CompleteZstandard(stream)), SKIP)
    return stream


class _CompleteZstandard(io.RawIOBase):
    """Zstandard frames to their end. The library's reader takes a cut file for a short one; here that is an error."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._data = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._data:
            packed = self._frame.unused_data or self._stream.read(1 << 16)
            if not packed:
                if self._begun and not self._frame.eof:
                    raise EOFError("the compressed data ends too early")
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._begun = True
            self._data = memoryview(self._frame.decompress(packed))
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def _whole_file(stream: IO[bytes], path: str, media: str, limit: int) -> RawDocument | Rejected:
    data = stream.read(limit + 1)
    return Rejected(path, "too_long") if len(data) > limit else _decoded(path, media, data)


def _decoded(locator: str, media: str, data: bytes) -> RawDocument | Rejected:
    try:
        return _checked(locator, media, data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Rejected(locator, "invalid_utf8")


def _checked(locator: str, media: str, text: object) -> RawDocument | Rejected:
    if not isinstance(text, str):
        return Rejected(locator, "no_text")
    if not text.strip():
        return Rejected(locator, "empty")
    try:
        f"{locator}{text}".encode()
    except UnicodeEncodeError:  # JSON can escape half a surrogate pair, which no UTF-8 column can hold
        return Rejected(locator, "invalid_unicode")
    return RawDocument(locator, media, text)


def _json_lines(stream: IO[bytes], path: str, source: SourceConfig) -> Iterator[RawDocument | Rejected]:
    for number, line in enumerate(_lines(stream, source.max_document_bytes), start=1):
        locator = f"{path}#{number}"
        yield Rejected(locator, "too_long") if line is None else _json_document(line, locator, path, source)


def _json_document(line: bytes, locator: str, path: str, source: SourceConfig) -> RawDocument | Rejected:
    if not line.strip():
        return Rejected(locator, "empty")
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return Rejected(locator, "invalid_utf8")
    except (ValueError, RecursionError):  # no JSON; a number of more digits than Python converts; lists too deep
        return Rejected(locator, "invalid_json")
    if not isinstance(row, dict):
        return Rejected(locator, "no_text")
    name = row.get(source.id_field) if source.id_field else None
    return _checked(f"{path}#{name}" if isinstance(name, str | int) else locator, "text", row.get(source.text_field))


def _lines(stream: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """The lines of a stream, of which no more than `limit` bytes are ever held; None stands for a longer one."""
    while line := stream.readline(limit + 1):
        if len(line) <= limit or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(SKIP)) and not rest.endswith(b"\n"):
            pass
        yield None


def _parquet_rows(stream: IO[bytes], path: str, source: SourceConfig) -> Iterator[RawDocument | Rejected]:
    with tempfile.TemporaryFile() as file:
        # Parquet is read from its end, and neither an object's stream nor a hashed file can seek.
        shutil.copyfileobj(stream, file, SKIP)
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        columns = [name for name in (source.text_field, source.id_field) if name]
        names = parquet.schema_arrow.names
        if missing := [name for name in columns if names.count(name) != 1]:
            raise SeedmillError(f"{path!r} has no single column {missing[0]!r}, only {names}; set text_field and id_field")
        number = 0
        for batch in parquet.iter_batches(batch_size=64, columns=columns):
            for row in zip(*(batch.column(name) for name in columns), strict=True):
                number += 1
                yield _row(row, f"{path}#{number}", path, source.max_document_bytes)


def _row(row: tuple[Any, ...], locator: str, path: str, limit: int) -> RawDocument | Rejected:
    """The document of a row of Arrow values: its text, and its id where the source names a field for it."""
    try:
        text, *names = (value.as_py() for value in row)
    except UnicodeDecodeError:  # Arrow takes the file's word for it that a string is UTF-8
        return Rejected(locator, "invalid_utf8")
    locator = f"{path}#{names[0]}" if names else locator
    if isinstance(text, str) and len(text.encode("utf-8", "surrogatepass")) > limit:
        return Rejected(locator, "too_long")
    return _checked(locator, "text", text)
