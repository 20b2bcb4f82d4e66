"""The audit of a version: everything it was made from, exactly as it was read, by which code and teacher, at what cost."""

from typing import Any

from factory.lineage.closure import closure
from factory.store.base import Store
from factory.store.manifest import Manifest

COSTS = ("teacher_requests", "teacher_input_tokens", "teacher_output_tokens", "teacher_cache_hits", "money", "gpu_seconds")


def audit(store: Store, root: Manifest) -> dict[str, Any]:
    """The provenance closure of a version, upstream first, with its totals, as JSON.

    Raises SeedmillError when an upstream version is gone, or is not what was read.
    """
    manifests = closure(store, [root])
    return {
        "asset": root.asset,
        "version": root.version,
        "artifacts": [describe(manifest) for manifest in manifests],
        "totals": totals(manifests),
    }


def describe(manifest: Manifest) -> dict[str, Any]:
    """What an auditor asks of one version."""
    return {
        "asset": manifest.asset,
        "version": manifest.version,
        "digest": manifest.digest,
        "code_version": manifest.code_version,
        "seed": manifest.seed,
        "source_version": manifest.source_version,
        "inputs": [upstream.model_dump() for upstream in manifest.inputs],
        "counts": manifest.counts.model_dump(),
        "records": manifest.rows,
        "tokens": manifest.tokens,
        "bytes": manifest.bytes,
        "seconds": manifest.seconds,
        "cpu_seconds": manifest.cpu_seconds,
        "cost": manifest.cost.model_dump(),
        "teacher": teacher(manifest),
        "commit": manifest.commit,
        "ended": manifest.ended,
    }


def teacher(manifest: Manifest) -> str | None:
    """The model that a stage asked to write, by its name; None for a stage that asks none."""
    who = manifest.section.get("teacher")
    return who["model"] if isinstance(who, dict) else None


def totals(manifests: list[Manifest]) -> dict[str, Any]:
    """What all of it took together."""
    cost = {name: sum(getattr(m.cost, name) for m in manifests) for name in COSTS}
    return {
        "artifacts": len(manifests),
        "bytes": sum(m.bytes for m in manifests),
        "seconds": sum(m.seconds for m in manifests),
        "cpu_seconds": sum(m.cpu_seconds for m in manifests),
        **cost,
    }
