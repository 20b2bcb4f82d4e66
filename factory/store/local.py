"""The artefact store on a local or shared file system.

ROOT/artifacts/ASSET/VERSION/manifest.json          written last: a version without it does not exist
ROOT/artifacts/ASSET/VERSION/attempts/N/out/...     the outputs
ROOT/experiments/EXPERIMENT/ASSET.json              the version that an experiment materialized last
"""

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from factory.digest import file_digest
from factory.errors import NO_ROOM, SeedmillError
from factory.parts import write_atomically
from factory.store.base import Attempt, pointed, same_or_conflict
from factory.store.manifest import Manifest

MANIFEST = "manifest.json"
ATTEMPTS = "attempts"


class LocalStore:
    """Versions in folders; manifests are created with a hard link, which fails if one is there already."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parsed: dict[tuple[Path, int, int], Manifest] = {}

    def manifest(self, asset: str, version: str) -> Manifest | None:
        """The manifest of a version, or None where it was never committed."""
        path = self._folder(asset, version) / MANIFEST
        return self._parse(path) if path.exists() else None

    def versions(self, asset: str) -> list[Manifest]:
        """All committed versions of an asset, oldest first."""
        paths = (self.root / "artifacts" / safe(asset)).glob(f"*/{MANIFEST}")
        found = [self._parse(path) for path in paths]
        return sorted((m for m in found if m.asset == asset), key=lambda m: (m.ended, m.version))

    def assets(self) -> list[str]:
        """The names of all assets that have a committed version."""
        base = self.root / "artifacts"
        found = set()
        for folder, below, files in os.walk(base):
            below[:] = [name for name in below if name != ATTEMPTS]  # outputs are large, and may hold a manifest.json of their own
            if MANIFEST in files:
                found.add(Path(folder).parent.relative_to(base).as_posix())
        return sorted(found)

    def attempts(self, asset: str, version: str) -> list[Attempt]:
        """The attempts at a version, oldest first; each may read the parts of those before it, newest first."""
        numbers = self._numbers(asset, version)
        return [self._attempt(asset, version, n, numbers) for n in numbers]

    def begin(self, asset: str, version: str, lowest: int = 1) -> Attempt:
        """Claim the next attempt number, `lowest` or above: creating its folder is the claim."""
        base = self._folder(asset, version) / ATTEMPTS
        self._make(base)
        number = max([lowest, *(n + 1 for n in self._numbers(asset, version))])
        while True:
            try:
                (base / str(number)).mkdir()
            except FileExistsError:
                number += 1
            else:
                return self._attempt(asset, version, number, self._numbers(asset, version))

    def commit(self, attempt: Attempt, manifest: Manifest) -> Manifest:
        """Link the manifest into place; then what earlier attempts left behind has no use any more."""
        target = self._folder(manifest.asset, manifest.version) / MANIFEST
        staged = attempt.folder / MANIFEST
        write_atomically(staged, manifest.model_dump_json(indent=1).encode())
        try:
            os.link(staged, target)
        except FileExistsError:
            committed = self.manifest(manifest.asset, manifest.version)
            return same_or_conflict(committed, manifest) if committed else manifest
        finally:
            staged.unlink()
        self.tidy(attempt)
        return manifest

    def outputs(self, manifest: Manifest, only: Collection[str] | None = None) -> Path:  # noqa: ARG002 (nothing to fetch)
        """The attempt's output folder."""
        return self._folder(manifest.asset, manifest.version) / ATTEMPTS / str(manifest.attempt) / "out"

    def verify(self, manifest: Manifest) -> list[str]:
        """Files that are missing or hold other bytes than the manifest says."""
        folder = self.outputs(manifest)
        problems = []
        for output in manifest.outputs:
            for name, digest in output.files.items():
                path = folder / safe(name)
                if not path.is_file():
                    problems.append(f"{name} is missing")
                elif file_digest(path) != digest:
                    problems.append(f"{name} has other bytes than its manifest says")
        return problems

    def pointer(self, experiment: str, asset: str) -> str | None:
        """The version that an experiment materialized last."""
        path = self._pointer(experiment, asset)
        return pointed(path.read_bytes(), str(path)) if path.exists() else None

    def point(self, experiment: str, asset: str, version: str) -> None:
        """Remember the version that an experiment materialized last."""
        path = self._pointer(experiment, asset)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"version": version}).encode())

    def withdraw(self, manifest: Manifest) -> None:
        """Set a damaged version aside, manifest first, so that it can be built again."""
        folder = self._folder(manifest.asset, manifest.version)
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder / ATTEMPTS, ignore_errors=True)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            remedy = "set store.url in the recipe, or SEEDMILL_HOME, to a folder that you may write"
            raise SeedmillError(f"the store {self.root} cannot be written ({error.strerror}): {remedy}") from error

    def _parse(self, path: Path) -> Manifest:
        """Each manifest is parsed once; only one that was withdrawn and built again is another file."""
        stat = path.stat()
        key = (path, stat.st_ino, stat.st_mtime_ns)
        if key not in self._parsed:
            try:
                self._parsed[key] = Manifest.model_validate_json(path.read_bytes())
            except ValidationError as error:
                first = error.errors()[0]
                raise SeedmillError(
                    f"{path} is no manifest ({'.'.join(map(str, first['loc']))}: {first['msg']}): remove it, and the version is built again"
                ) from error
        return self._parsed[key]

    def _numbers(self, asset: str, version: str) -> list[int]:
        base = self._folder(asset, version) / ATTEMPTS
        return sorted(int(p.name) for p in base.iterdir()) if base.exists() else []

    def _attempt(self, asset: str, version: str, number: int, numbers: list[int]) -> Attempt:
        base = self._folder(asset, version) / ATTEMPTS
        return Attempt(asset, version, number, base / str(number), tuple(base / str(m) for m in reversed(numbers) if m < number))

    def tidy(self, attempt: Attempt) -> None:
        """Remove what was left behind on the way to a version that is committed: unfinished attempts, finished parts."""
        for left in ("parts", "starts"):
            shutil.rmtree(attempt.folder / left, ignore_errors=True)
        for folder in attempt.previous:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, asset: str, version: str) -> Path:
        return self.root / "artifacts" / safe(asset) / safe(version)

    def _pointer(self, experiment: str, asset: str) -> Path:
        return self.root / "experiments" / safe(experiment) / f"{safe(asset)}.json"


def safe(name: str) -> str:
    """A relative name that cannot leave the folder it is joined to (names come from manifests and recipes)."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise SeedmillError(f"unsafe name {name!r}: names are relative paths without '..'")
    return name
