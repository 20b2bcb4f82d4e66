"""A checkpoint's list of its own files, without which it is not loaded: a missing file or a flipped byte is found before a rank
reads it, and named.

Megatron's format has no checksums: a flipped byte would be trained on.
"""

import json
from pathlib import Path

from factory.digest import file_digest
from factory.errors import SeedmillError

NAME = "files.json"
REMEDY = "bring it back, or remove the checkpoint and run again"


def write(folder: Path, known: dict[str, str]) -> None:
    """Note the SHA-256 of every file of a finished checkpoint; those of the large ones are `known` to who wrote them."""
    digests = {path.name: known.get(path.name) or file_digest(path) for path in sorted(folder.iterdir())}
    (folder / NAME).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


def check(folder: Path) -> None:
    """Raise `SeedmillError` when a file is missing or has other bytes, or when it cannot be known for want of the list."""
    for name, digest in _listed(folder).items():
        path = folder / name
        if not path.exists():
            raise SeedmillError(f"checkpoint {folder} lacks {name}: {REMEDY}")
        if file_digest(path) != digest:
            raise SeedmillError(f"checkpoint {folder}: {name} is not as it was written: {REMEDY}")


def _listed(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SeedmillError(f"checkpoint {folder} lacks {NAME}, the list of its files: {REMEDY}") from error
    except ValueError as error:
        raise SeedmillError(f"checkpoint {folder}: {NAME} is not as it was written: {REMEDY}") from error
