"""Finished pieces of a stage's work, and the atomic writes under them."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SEAL_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Parts:
    """Finished pieces of a stage's work, kept from attempt to attempt, so that a killed stage goes on where it was.

    A part is complete or absent: it is written under another name, synced, and renamed. Earlier attempts' parts are only
    read, never written: an old writer that still runs can spoil nothing of ours.
    """

    own: Path
    previous: tuple[Path, ...] = ()

    def find(self, name: str) -> Path | None:
        """The path of part `name` (a file or a folder) in this attempt or the newest earlier one that has it."""
        for folder in (self.own, *self.previous):
            if (folder / name).exists():
                return folder / name
        return None

    def names(self) -> list[str]:
        """The names of all finished parts, sorted."""
        found = {entry.name for folder in (self.own, *self.previous) if folder.exists() for entry in folder.iterdir()}
        return sorted(name for name in found if not name.startswith("."))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path to write a file or folder to; when the block ends well, it becomes part `name`."""
        yield self.staging(name)
        self.publish(name)

    def staging(self, name: str) -> Path:
        """The path where this process writes what `publish` will make part `name`."""
        self.own.mkdir(parents=True, exist_ok=True)
        return self.own / f".{name}.{os.getpid()}"

    def publish(self, name: str) -> None:
        """Make what lies at `staging(name)` part `name`."""
        temporary = self.staging(name)
        sync_tree(temporary)
        temporary.replace(self.own / name)

    def drop(self, name: str) -> None:
        """Remove this attempt's part `name`, if it has one (retention of old checkpoints)."""
        path = self.own / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sync_tree(path: Path) -> None:
    """Flush a file, or every file of a folder, to the disk, so that a rename after it never exposes half a file."""
    for entry in [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]:
        with entry.open("rb") as stream:
            os.fsync(stream.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def sealed(name: str, content: bytes) -> bytes:
    """What to write as the file `name` so that `unsealed` gets `content` back, or knows better: behind it the SHA-256 of both."""
    return content + hashlib.sha256(name.encode() + content).digest()


def unsealed(path: Path) -> bytes | None:
    """What was sealed into a file; None where the file was cut or changed since, or sealed under another name."""
    data = path.read_bytes()
    content = data[:-SEAL_BYTES]
    return content if data == sealed(path.name, content) else None
