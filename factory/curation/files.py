"""Files of a source, in a local folder or under an S3 prefix, behind one small interface.

A source is observed before it is read, and what is read must be what was observed: a local file is hashed while it is
read, an S3 object is asked for by its ETag.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

from factory.digest import file_digest, json_digest
from factory.errors import SeedmillError

CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file of a source: its relative POSIX path and what identifies its content (SHA-256, or the store's ETag)."""

    path: str
    digest: str
    size: int


class Files(Protocol):
    """A folder or prefix of files."""

    def list(self) -> list[Entry]:
        """All files, sorted by path."""
        ...

    def reading(self, entry: Entry) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open a file as a stream of bytes; an error if it is not what was listed."""
        ...


def version_of(entries: list[Entry], *context: str) -> str:
    """The version of a source: 16 hex digits over the sorted paths and content digests of its files (and any `context`)."""
    return json_digest([sorted((entry.path, entry.digest) for entry in entries), *context])[:16]


def chosen(entries: list[Entry], include: tuple[str, ...]) -> list[Entry]:
    """The entries whose path matches one of the globs (`*` also matches `/`)."""
    return [entry for entry in entries if any(fnmatchcase(entry.path, glob) for glob in include)]


def files_at(path: str) -> Files:
    """The files at a folder or an `s3://BUCKET/PREFIX`."""
    if path.startswith("s3://"):
        bucket, _, prefix = path.removeprefix("s3://").partition("/")
        return S3Prefix(bucket, prefix)
    return LocalFolder(Path(path))


@dataclass(frozen=True)
class LocalFolder:
    """The files below a folder; `nested=False` leaves out its subfolders, `links=False` its links. One that leads outside is an error."""

    root: Path
    nested: bool = True
    links: bool = True

    def list(self) -> list[Entry]:
        """All files below the folder, sorted by relative path, with their SHA-256."""
        if self.root.is_file():
            raise SeedmillError(f"source folder {str(self.root)!r} is a file, not a folder; name its folder, and choose it by `include`")
        if not self.root.is_dir():
            raise SeedmillError(f"source folder {str(self.root)!r} does not exist; create it or correct the source's path")
        return [self._entry(path) for path in sorted(self._paths(), key=lambda path: path.relative_to(self.root).as_posix())]

    @contextlib.contextmanager
    def reading(self, entry: Entry) -> Iterator[IO[bytes]]:
        """Open a file; when the block ends, its content must have been what the listing saw."""
        path = self._inside(self.root / entry.path)
        with path.open("rb", buffering=0) as raw:
            stream = _Digesting(raw)
            yield io.BufferedReader(stream, CHUNK)
            stream.drain()
        if stream.hexdigest() != entry.digest:
            raise SeedmillError(f"source file {entry.path!r} changed while it was read; run again when nothing writes to the source")

    def _paths(self) -> Iterator[Path]:
        for folder, subfolders, names in os.walk(self.root, onerror=self._unreadable):
            for name in subfolders:
                self._inside(Path(folder, name))
            files = (Path(folder, name) for name in names)
            yield from (self._regular(self._inside(path)) for path in files if self.links or not path.is_symlink())
            if not self.nested:
                return

    def _entry(self, path: Path) -> Entry:
        stat = path.stat()
        try:
            digest = _digest_of(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        except OSError as error:
            self._unreadable(error)
        return Entry(path.relative_to(self.root).as_posix(), digest, stat.st_size)

    def _inside(self, path: Path) -> Path:
        """The path, unless it is a link out of the folder or to nothing."""
        if not path.is_symlink():
            return path
        try:
            inside = path.resolve(strict=True).is_relative_to(self.root.resolve())
        except (OSError, RuntimeError) as error:  # a link to nothing; a link that comes back to itself
            raise self._refusal(path, "is a link that leads nowhere; remove it, or mend it") from error
        if not inside:
            raise self._refusal(path, "is a link out of the source folder; copy what it points to")
        return path

    def _regular(self, path: Path) -> Path:
        """The path, if reading it comes to an end and its name can stand in a record."""
        try:
            path.relative_to(self.root).as_posix().encode()
        except UnicodeEncodeError as error:
            raise self._refusal(path, "has a name that is not UTF-8; rename it") from error
        if not path.is_file():
            raise self._refusal(path, "is a pipe, a socket or a device; move it out of the source folder")
        return path

    def _refusal(self, path: Path, why: str) -> SeedmillError:
        return SeedmillError(f"source file {str(path.relative_to(self.root))!r} {why}")

    def _unreadable(self, error: OSError) -> NoReturn:
        path = Path(error.filename)
        raise self._refusal(path, f"cannot be read: {error.strerror}; make it readable, or move it out of the source folder") from error


@lru_cache(maxsize=100_000)
def _digest_of(path: Path, _size: int, _modified: int, _inode: int) -> str:
    """A file's SHA-256, computed anew when its stat changes: status asks for it again and again."""
    return file_digest(path)


class _Digesting(io.RawIOBase):
    """A raw stream that hashes what passes through."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer)
        self._hash.update(memoryview(buffer)[:count])
        return count

    def drain(self) -> None:
        buffer = bytearray(CHUNK)
        while self.readinto(buffer):
            pass

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True)
class S3Prefix:
    """The objects under a prefix; endpoint, region and credentials come from the AWS environment variables."""

    bucket: str
    prefix: str

    def list(self) -> list[Entry]:
        """All objects under the prefix, sorted by key, with the store's own ETag; nothing is downloaded."""
        with self._explained():
            pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._folder)
            objects = [item for page in pages for item in page.get("Contents", [])]
        entries = [Entry(o["Key"][len(self._folder) :], o["ETag"].strip('"'), o["Size"]) for o in objects if not o["Key"].endswith("/")]
        return sorted(entries, key=lambda entry: entry.path)

    @contextlib.contextmanager
    def reading(self, entry: Entry) -> Iterator[IO[bytes]]:
        """Open an object, in the very version that was listed."""
        with self._explained(entry):
            body = _s3().get_object(Bucket=self.bucket, Key=self._folder + entry.path, IfMatch=f'"{entry.digest}"')["Body"]
            yield io.BufferedReader(body, CHUNK)

    @property
    def _folder(self) -> str:
        return f"{self.prefix.rstrip('/')}/" if self.prefix else ""

    @contextlib.contextmanager
    def _explained(self, entry: Entry | None = None) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

        where = f"s3://{self.bucket}/{self._folder}{entry.path if entry else ''}"
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "?")
            raise SeedmillError(f"cannot read source {where}: {_REMEDIES.get(code, f'the store answered {code}')}") from error
        except ParamValidationError as error:
            raise SeedmillError(f"cannot read source {where}: {self.bucket!r} cannot name a bucket; correct the source's path") from error
        except BotoCoreError as error:
            raise SeedmillError(f"cannot read source {where}: {error}; check AWS_ENDPOINT_URL, region and credentials") from error


_REMEDIES = {
    "NoSuchBucket": "the bucket does not exist; create it or correct the source's path",
    "AccessDenied": "access denied; check the credentials",
    "InvalidAccessKeyId": "the access key is unknown; check the credentials",
    "NoSuchKey": "the object vanished while the source was read; run again when nothing writes to it",
    "PreconditionFailed": "the object changed while the source was read; run again when nothing writes to it",
}


def _s3() -> Any:
    import boto3

    return boto3.client("s3")
