"""The provenance closure: every artefact that a version was made from, exactly those that were read."""

from collections.abc import Iterable

from factory.errors import SeedmillError
from factory.store.base import Store
from factory.store.manifest import Manifest


def closure(store: Store, roots: Iterable[Manifest]) -> list[Manifest]:
    """The roots and all that they were made from, each once, upstream first."""
    found: dict[tuple[str, str], Manifest] = {}
    for root in roots:
        _visit(store, root, found)
    return list(found.values())


def _visit(store: Store, manifest: Manifest, found: dict[tuple[str, str], Manifest]) -> None:
    if (manifest.asset, manifest.version) in found:
        return
    for upstream in manifest.inputs:
        parent = store.manifest(upstream.asset, upstream.version)
        if parent is None:
            raise SeedmillError(
                f"{manifest.asset} {manifest.version} was made from {upstream.asset} {upstream.version}, which is gone from the store"
            )
        if parent.digest != upstream.digest:
            raise SeedmillError(
                f"{upstream.asset} {upstream.version} has digest {parent.digest[:16]}, {manifest.asset} read {upstream.digest[:16]}"
            )
        _visit(store, parent, found)
    found[manifest.asset, manifest.version] = manifest
