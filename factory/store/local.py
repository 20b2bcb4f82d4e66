"""The artefact store on a local or shared file system.

ROOT/artifacts/ASSET/VERSION/manifest.json          written last: a version without it does not exist
ROOT/artifacts/ASSET/VERSION/attempts/N/out/...     the outputs
ROOT/experiments/EXPERIMENT/ASSET.json              the version that an experiment materialized last
"""

import json
import os
import shutil
from pathlib import Path, PurePosixPath

from factory.digest import file_digest
from factory.errors import SeedmillError
from factory.parts import write_atomically
from factory.store.base import Attempt, same_or_conflict
from factory.store.manifest import Manifest

MANIFEST = "manifest.json"


class LocalStore:
    """Versions in folders; manifests are created with a hard link, which fails if one is there already."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parsed: dict[Path, Manifest] = {}

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
        return sorted({path.parent.parent.relative_to(base).as_posix() for path in base.glob(f"**/{MANIFEST}")})

    def attempts(self, asset: str, version: str) -> list[Attempt]:
        """The attempts at a version, oldest first; each may read the parts of those before it, newest first."""
        base = self._folder(asset, version) / "attempts"
        numbers = sorted(int(p.name) for p in base.iterdir()) if base.exists() else []
        return [Attempt(asset, version, n, base / str(n), tuple(base / str(m) for m in reversed(numbers) if m < n)) for n in numbers]

    def begin(self, asset: str, version: str) -> Attempt:
        """Claim the next attempt number: creating its folder is the claim."""
        base = self._folder(asset, version) / "attempts"
        base.mkdir(parents=True, exist_ok=True)
        number = max((a.number for a in self.attempts(asset, version)), default=0) + 1
        while True:
            try:
                (base / str(number)).mkdir()
            except FileExistsError:
                number += 1
            else:
                return self.attempts(asset, version)[-1]

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
        self._tidy(attempt)
        return manifest

    def outputs(self, manifest: Manifest) -> Path:
        """The attempt's output folder."""
        return self._folder(manifest.asset, manifest.version) / "attempts" / str(manifest.attempt) / "out"

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
        return json.loads(path.read_bytes())["version"] if path.exists() else None

    def point(self, experiment: str, asset: str, version: str) -> None:
        """Remember the version that an experiment materialized last."""
        path = self._pointer(experiment, asset)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"version": version}).encode())

    def withdraw(self, manifest: Manifest) -> None:
        """Set a damaged version aside, manifest first, so that it can be built again."""
        folder = self._folder(manifest.asset, manifest.version)
        (folder / MANIFEST).unlink()
        shutil.rmtree(folder / "attempts", ignore_errors=True)

    def _parse(self, path: Path) -> Manifest:
        """Manifests never change, so each is parsed once."""
        if path not in self._parsed:
            self._parsed[path] = Manifest.model_validate_json(path.read_bytes())
        return self._parsed[path]

    def _tidy(self, attempt: Attempt) -> None:
        shutil.rmtree(attempt.folder / "parts", ignore_errors=True)
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
