"""Files of a source as plain bytes: gzip and Zstandard are taken off by the name, and a broken container is an error.

How many records are behind a break cannot be known, so none of the file is kept in silence.
"""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, cast

import pyarrow as pa
import zstandard

from factory.curation.files import Entry, Files
from factory.errors import SeedmillError

SKIP = 1 << 20


def form_of(path: str) -> str:
    """The suffix that tells a file's format, in small letters: `.jsonl` of `a.JSONL.gz`; nothing where there is none."""
    forms, _ = _suffixes(path)
    return forms[-1] if forms else ""


@contextlib.contextmanager
def opened(files: Files, entry: Entry) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked as they are read. What breaks while they are read, here or in the caller, is one error."""
    _, packing = _suffixes(entry.path)
    try:
        with files.reading(entry) as packed:
            yield _unpacked(packed, packing)
    except (EOFError, OSError, zlib.error, zstandard.ZstdError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's error, a full disk say; those that gzip and Arrow raise of broken data have no number
        what = " ".join(str(error).split())
        raise SeedmillError(f"source file {entry.path!r} is broken ({what}); replace it, or leave it out by `include`") from error


def _suffixes(path: str) -> tuple[list[str], str]:
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in (".gz", ".zst") else ""
    return suffixes, packing


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
