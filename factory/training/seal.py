"""A checkpoint's list of its own files: a missing file or a flipped byte is found before a rank reads it, and named.

Megatron's format has no checksums: a flipped byte would be trained on.
"""

import json
from pathlib import Path

from factory.digest import file_digest
from factory.errors import SeedmillError

NAME = "files.json"


def write(folder: Path, known: dict[str, str]) -> None:
    """Note the SHA-256 of every file of a finished checkpoint; those of the large ones are `known` to who wrote them."""
    digests = {path.name: known.get(path.name) or file_digest(path) for path in sorted(folder.iterdir())}
    (folder / NAME).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


def check(folder: Path) -> None:
    """Raise when a file is missing or has other bytes; a checkpoint that no seal was written for is taken as it is."""
    seal = folder / NAME
    if not seal.exists():
        return
    for name, digest in json.loads(seal.read_text(encoding="utf-8")).items():
        path = folder / name
        if not path.exists():
            raise SeedmillError(f"checkpoint {folder} lacks {name}: bring it back, or remove the checkpoint and run again")
        if file_digest(path) != digest:
            raise SeedmillError(
                f"checkpoint {folder}: {name} is not as it was written: bring it back, or remove the checkpoint and run again"
            )
