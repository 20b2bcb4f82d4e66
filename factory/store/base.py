"""What every artefact store does, wherever the bytes lie."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from factory.errors import SeedmillError
from factory.store.manifest import Manifest


@dataclass(frozen=True)
class Attempt:
    """One try at making a version: a local folder to work in, and the earlier tries whose finished parts may be read."""

    asset: str
    version: str
    number: int
    folder: Path
    previous: tuple[Path, ...]

    @property
    def key(self) -> str:
        """The job's name for ever: a restarted orchestrator finds the same job by it."""
        return f"{self.asset}@{self.version}#{self.number}"


class Store(Protocol):
    """Immutable versions by asset; a manifest makes a version exist."""

    def manifest(self, asset: str, version: str) -> Manifest | None:
        """The manifest of a version, or None where the version was never committed."""
        ...

    def versions(self, asset: str) -> list[Manifest]:
        """All committed versions of an asset, oldest first."""
        ...

    def assets(self) -> list[str]:
        """The names of all assets that have a committed version, sorted."""
        ...

    def attempts(self, asset: str, version: str) -> list[Attempt]:
        """The attempts on this machine at a version that is not committed yet, oldest first."""
        ...

    def begin(self, asset: str, version: str) -> Attempt:
        """A new attempt with a number of its own, even against another orchestrator that begins at the same moment."""
        ...

    def commit(self, attempt: Attempt, manifest: Manifest) -> Manifest:
        """Publish the outputs, then the manifest, atomically and once. The first writer wins; an equal second one is reused."""
        ...

    def outputs(self, manifest: Manifest, only: Collection[str] | None = None) -> Path:
        """A local folder that holds the version's outputs, or at least those named in `only`.

        They are fetched and checked first where they lie elsewhere.
        """
        ...

    def verify(self, manifest: Manifest) -> list[str]:
        """What is wrong with the stored outputs, in words: files missing or with other bytes. Empty when all is well."""
        ...

    def withdraw(self, manifest: Manifest) -> None:
        """Set a damaged version aside, manifest first, so that it can be built again."""
        ...

    def pointer(self, experiment: str, asset: str) -> str | None:
        """The version that an experiment materialized last."""
        ...

    def point(self, experiment: str, asset: str, version: str) -> None:
        """Remember the version that an experiment materialized last."""
        ...


def pointed(data: bytes, where: str) -> str:
    """The version that a pointer's file names. Raises SeedmillError naming the file where it is not as the store wrote it."""
    try:
        return str(json.loads(data)["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise SeedmillError(f"{where} names no version: remove it, and the next run of its experiment writes it again") from error


def same_or_conflict(existing: Manifest, new: Manifest) -> Manifest:
    """The committed manifest when a second writer made the same content; an error when it made another."""
    if existing.digest == new.digest:
        return existing
    changed = sorted(o.name for o in new.outputs if o.digest not in {e.digest for e in existing.outputs})
    raise SeedmillError(
        f"{new.asset} {new.version}: a second build gave digest {new.digest[:16]}, the committed one is {existing.digest[:16]} "
        f"(outputs that differ: {changed}); the stage is not reproducible here. Compare package versions with `factory diff`, "
        "or bump the stage's code version if its code changed"
    )
