"""What differs between two versions of an asset, and where in everything above them the difference began."""

from typing import Any

from factory.lineage.closure import closure
from factory.store.base import Store
from factory.store.manifest import Manifest

Change = dict[str, Any]
"""`{"field": dotted path, "old": value, "new": value}`; None stands for what the other side lacks."""


def diff(store: Store, old: Manifest, new: Manifest) -> dict[str, Any]:
    """What is not the same in `new` as in `old`, as JSON.

    `own` holds the version's own changes (code, seed, source, recipe section); `inputs` the direct inputs with other content;
    `causes` the assets anywhere above that changed by themselves, upstream first: the rest only followed them. `figures` are
    counts, sizes, costs and metrics; `environment` the commit and the packages, which no identity holds.
    """
    return {
        "old": {"asset": old.asset, "version": old.version, "digest": old.digest},
        "new": {"asset": new.asset, "version": new.version, "digest": new.digest},
        "same_content": old.digest == new.digest,
        "own": own_changes(old, new),
        "inputs": input_changes(old, new),
        "causes": causes(store, old, new),
        "figures": differences(figures(old), figures(new)),
        "environment": differences(environment(old), environment(new)),
    }


def own_changes(old: Manifest, new: Manifest) -> list[Change]:
    """Changes of what the identity holds beside the inputs."""
    return differences(own(old), own(new))


def own(manifest: Manifest) -> dict[str, Any]:
    """The part of the identity that is the stage's own."""
    return {
        "code_version": manifest.code_version,
        "seed": manifest.seed,
        "source_version": manifest.source_version,
        "recipe": manifest.section,
    }


def input_changes(old: Manifest, new: Manifest) -> list[Change]:
    """Direct inputs whose content is not the same; an input rebuilt to the same content is no change."""
    before, after = ({u.asset: u for u in m.inputs} for m in (old, new))
    names = sorted(before.keys() | after.keys())
    changed = [name for name in names if _digest(before.get(name)) != _digest(after.get(name))]
    return [{"field": name, "old": _version(before.get(name)), "new": _version(after.get(name))} for name in changed]


def causes(store: Store, old: Manifest, new: Manifest) -> list[dict[str, Any]]:
    """The upstream assets that changed by themselves, or that only one side has, each with its own changes."""
    before, after = ({m.asset: m for m in closure(store, [root]) if m.asset != root.asset} for root in (old, new))
    names = [*before, *(name for name in after if name not in before)]
    found = [{"asset": name, "changes": _cause(before.get(name), after.get(name))} for name in names]
    return [cause for cause in found if cause["changes"]]


def _cause(old: Manifest | None, new: Manifest | None) -> list[Change]:
    if old is None or new is None:
        return [{"field": "version", "old": old and old.version, "new": new and new.version}]
    changed = own_changes(old, new)
    if changed or old.digest == new.digest or input_changes(old, new):
        return changed
    return [{"field": "content (same recipe, code and inputs)", "old": old.digest, "new": new.digest}]


def figures(manifest: Manifest) -> dict[str, Any]:
    """The numbers of a version."""
    sizes = {"records": manifest.rows, "tokens": manifest.tokens, "bytes": manifest.bytes}
    times = {"seconds": round(manifest.seconds, 1), "cpu_seconds": round(manifest.cpu_seconds, 1)}
    return {**sizes, **times, "counts": manifest.counts.model_dump(), "cost": manifest.cost.model_dump(), "metrics": manifest.metrics}


def environment(manifest: Manifest) -> dict[str, Any]:
    """What ran, apart from what the identity holds."""
    return {"commit": manifest.commit, "packages": manifest.packages, "where": manifest.where}


def differences(old: Any, new: Any, field: str = "") -> list[Change]:
    """The leaves in which two JSON values differ, by their dotted paths; lists are leaves."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [change for key in keys for change in differences(old.get(key), new.get(key), f"{field}.{key}".lstrip("."))]
    return [] if old == new else [{"field": field, "old": old, "new": new}]


def _digest(upstream: Any) -> str | None:
    return upstream.digest if upstream else None


def _version(upstream: Any) -> str | None:
    return upstream.version if upstream else None
