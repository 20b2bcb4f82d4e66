"""The artefact store in an S3 bucket, or anything that speaks its protocol and honours conditional writes.

s3://BUCKET/PREFIX/artifacts/ASSET/VERSION/manifest.json          written last, only if there is none
s3://BUCKET/PREFIX/artifacts/ASSET/VERSION/attempts/N/claim       who first writes it owns attempt number N
s3://BUCKET/PREFIX/artifacts/ASSET/VERSION/attempts/N/out/...     the outputs
s3://BUCKET/PREFIX/experiments/EXPERIMENT/ASSET.json              the version that an experiment materialized last

Stages work in a local scratch folder that is laid out as a local store. It is the cache as well: what was committed from
here or fetched once stays, checked against its digests.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from factory.digest import file_digest
from factory.errors import SeedmillError
from factory.parts import write_atomically
from factory.spec import Output
from factory.store.base import Attempt, pointed, same_or_conflict
from factory.store.bucket import IN_PARTS, Bucket
from factory.store.local import ATTEMPTS, MANIFEST, LocalStore, safe
from factory.store.manifest import Manifest

CLAIM = "claim"


class S3Store:
    """Versions in a bucket; `local` holds attempts, and copies of manifests and outputs, neither of which ever changes."""

    def __init__(self, bucket: Bucket, local: LocalStore) -> None:
        self.bucket = bucket
        self.local = local

    @classmethod
    def open(cls, url: str, scratch: Path) -> "S3Store":
        """The store at `s3://BUCKET/PREFIX`; each address has a scratch of its own under `scratch`. Asks nothing of the network."""
        name, _, prefix = url.removeprefix("s3://").rstrip("/").partition("/")
        if not name:
            raise SeedmillError(f"store url {url!r} names no bucket: write s3://BUCKET/PREFIX")
        folder = scratch / hashlib.sha256(url.encode()).hexdigest()[:12]
        return cls(Bucket(name, f"{prefix}/" if prefix else ""), LocalStore(folder))

    def manifest(self, asset: str, version: str) -> Manifest | None:
        """The manifest of a version, or None where it was never committed."""
        copy = self._copy(asset, version)
        if not copy.exists():
            data = self.bucket.read(_key(asset, version, MANIFEST))
            if data is None:
                return None
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(copy, data)
        return self.local.manifest(asset, version)

    def versions(self, asset: str) -> list[Manifest]:
        """All committed versions of an asset, oldest first."""
        base = f"artifacts/{safe(asset)}/"
        names = [PurePosixPath(folder).name for folder in self.bucket.folders(base)]
        found = [manifest for name in names if (manifest := self.manifest(asset, name))]
        return sorted(found, key=lambda m: (m.ended, m.version))

    def assets(self) -> list[str]:
        """The names of all assets that have a committed version. It lists every object once."""
        keys = (PurePosixPath(key) for key in self.bucket.keys("artifacts/"))
        return sorted({"/".join(key.parts[1:-2]) for key in keys if key.name == MANIFEST and ATTEMPTS not in key.parts})

    def attempts(self, asset: str, version: str) -> list[Attempt]:
        """The attempts of this machine at a version, oldest first."""
        return self.local.attempts(asset, version)

    def begin(self, asset: str, version: str) -> Attempt:
        """Claim the next attempt number in the bucket, against every other machine, and work on it locally."""
        taken = [int(PurePosixPath(folder).name) for folder in self.bucket.folders(f"{_key(asset, version, ATTEMPTS)}/")]
        number = max([0, *taken, *(attempt.number for attempt in self.attempts(asset, version))]) + 1
        while not self.bucket.create(_key(asset, version, ATTEMPTS, str(number), CLAIM), b""):
            number += 1
        return self.local.begin(asset, version, lowest=number)

    def commit(self, attempt: Attempt, manifest: Manifest) -> Manifest:
        """Upload the outputs, then create the manifest; a second writer's creation is refused by the service."""
        folder = attempt.folder / "out"
        for name, digest in _files(manifest.outputs):
            self.bucket.upload(_out(manifest, name), folder / safe(name), digest)
        self.bucket.create(_key(manifest.asset, manifest.version, MANIFEST), manifest.model_dump_json(indent=1).encode())
        self._copy(manifest.asset, manifest.version).unlink(missing_ok=True)  # of a version that was withdrawn elsewhere
        committed = self.manifest(manifest.asset, manifest.version)
        if committed is None:
            raise SeedmillError(f"{manifest.asset} {manifest.version} was withdrawn while it was committed: run again")
        for number in self._uploaded(manifest) - {committed.attempt}:
            self._remove_attempt(manifest, number)
        if committed.attempt != manifest.attempt:
            return same_or_conflict(committed, manifest)
        self.local.tidy(attempt)
        return manifest

    def outputs(self, manifest: Manifest, only: Collection[str] | None = None) -> Path:
        """The local copy of the outputs, or of those named in `only`; each is fetched once, whole, and checked."""
        folder = self.local.outputs(manifest)
        for output in manifest.outputs:
            if (only is None or output.name in only) and not (folder / safe(output.name)).exists():
                self._fetch(manifest, output, folder)
        return folder

    def verify(self, manifest: Manifest) -> list[str]:
        """Objects that are missing or whose checksum, which the service took on arrival, is not the manifest's.

        A local copy that was damaged is only dropped: the next reader fetches it again.
        """
        for output in manifest.outputs:
            copy = self.local.outputs(manifest) / safe(output.name)
            if copy.exists() and _damaged(self.local.outputs(manifest), output):
                _remove(copy)
        return [problem for name, digest in _files(manifest.outputs) if (problem := self._problem(manifest, name, digest))]

    def withdraw(self, manifest: Manifest) -> None:
        """Set a damaged version aside, manifest first, so that it can be built again."""
        key = _key(manifest.asset, manifest.version, MANIFEST)
        current = self.bucket.read(key)
        self.local.withdraw(manifest)
        if current and Manifest.model_validate_json(current).attempt == manifest.attempt:
            self.bucket.delete([key])
            self._remove_attempt(manifest, manifest.attempt)

    def pointer(self, experiment: str, asset: str) -> str | None:
        """The version that an experiment materialized last."""
        data = self.bucket.read(_pointer(experiment, asset))
        return None if data is None else pointed(data, self.bucket.url(_pointer(experiment, asset)))

    def point(self, experiment: str, asset: str, version: str) -> None:
        """Remember the version that an experiment materialized last."""
        self.bucket.write(_pointer(experiment, asset), json.dumps({"version": version}).encode())

    def _fetch(self, manifest: Manifest, output: Output, folder: Path) -> None:
        """Bring one output here under another name, check every file, and rename it into place."""
        temporary = folder / f".{output.name}.{os.getpid()}"
        _remove(temporary)
        for name, digest in output.files.items():
            target = temporary / PurePosixPath(safe(name)).relative_to(output.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.bucket.download(_out(manifest, name), target)
            if file_digest(target) != digest:
                raise SeedmillError(
                    f"{self.bucket.url(_out(manifest, name))} has other bytes than its manifest says: "
                    f"run `factory run {manifest.asset}` to build it again"
                )
        try:
            temporary.replace(folder / safe(output.name))
        except OSError:  # another process was quicker, and its copy is as good
            if not (folder / safe(output.name)).exists():
                raise
            _remove(temporary)

    def _problem(self, manifest: Manifest, name: str, digest: str) -> str | None:
        found = self.bucket.digest(_out(manifest, name))
        if found is None:
            return f"{name} is missing"
        return None if found in (digest, IN_PARTS) else f"{name} has other bytes than its manifest says"

    def _uploaded(self, manifest: Manifest) -> set[int]:
        return {int(PurePosixPath(folder).name) for folder in self.bucket.folders(self._attempts(manifest))}

    def _remove_attempt(self, manifest: Manifest, number: int) -> None:
        """Delete what an attempt uploaded; its claim stays, so that its number is never given again."""
        keys = self.bucket.keys(f"{self._attempts(manifest)}{number}/")
        self.bucket.delete([key for key in keys if not key.endswith(f"/{CLAIM}")])

    def _attempts(self, manifest: Manifest) -> str:
        return f"{_key(manifest.asset, manifest.version, ATTEMPTS)}/"

    def _copy(self, asset: str, version: str) -> Path:
        return self.local.root / _key(asset, version, MANIFEST)


def _key(asset: str, version: str, *rest: str) -> str:
    return "/".join(("artifacts", safe(asset), safe(version), *rest))


def _out(manifest: Manifest, name: str) -> str:
    return _key(manifest.asset, manifest.version, ATTEMPTS, str(manifest.attempt), "out", safe(name))


def _pointer(experiment: str, asset: str) -> str:
    return f"experiments/{safe(experiment)}/{safe(asset)}.json"


def _files(outputs: list[Output]) -> Iterator[tuple[str, str]]:
    for output in outputs:
        yield from output.files.items()


def _damaged(folder: Path, output: Output) -> bool:
    paths = {folder / safe(name): digest for name, digest in output.files.items()}
    return any(not path.is_file() or file_digest(path) != digest for path, digest in paths.items())


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
