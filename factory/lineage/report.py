"""The report on an experiment: what every stage took and made, and how good each checkpoint is, with its uncertainty."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from factory.context import Input
from factory.errors import SeedmillError
from factory.evaluation.compare import compare, read_answers
from factory.lineage.audit import COSTS, teacher
from factory.lineage.reference import materialized
from factory.store.base import Store
from factory.store.manifest import Manifest

EVALUATION = "evaluation/"
SCORES = ("correct", "n", "accuracy", "low", "high")
MODES = ("greedy", "sampled")
SUMMARY = ("started", "made", "cpu_seconds", "wall_seconds", "peak_rss_bytes", "load")


def report(store: Store, experiment: str, assets: list[str], significance: float, summary: dict[str, Any]) -> dict[str, Any]:
    """The report as JSON, from the versions of `assets` (in the order that data flows) that the experiment materialized last.

    `summary` is what the last run that made something measured over all its processes (None where there was none): when it
    started, how many assets it made, and the machine's load at its start and its end. A stage's own figures are of the run that
    made its version, which may be an earlier one. `significance` is the level of the test between checkpoints.
    """
    manifests = materialized(store, experiment, assets)
    card = next((str(store.outputs(m) / "README.md") for m in manifests if m.asset == "model_card"), None)
    return {
        "experiment": experiment,
        **{name: summary.get(name) for name in SUMMARY},
        "stages": [stage(manifest) for manifest in manifests],
        "totals": {name: sum(getattr(m.cost, name) for m in manifests) for name in COSTS},
        "checkpoints": checkpoints(store, manifests, significance),
        "model_card": card,
    }


def read_summary(path: Path) -> dict[str, Any]:
    """The summary of the last run that made something; empty where none has ended yet."""
    try:
        found = json.loads(path.read_bytes()) if path.exists() else {}
    except ValueError as error:
        raise SeedmillError(f"{path} is not as a run wrote it ({error}): remove it, and the next run writes it again") from error
    if not isinstance(found, dict):
        raise SeedmillError(f"{path} holds no summary of a run: remove it, and the next run writes it again")
    return found


def stage(manifest: Manifest) -> dict[str, Any]:
    """What one stage took and made."""
    return {
        "asset": manifest.asset,
        "version": manifest.version,
        "seconds": manifest.seconds,
        "cpu_seconds": manifest.cpu_seconds,
        "peak_rss_bytes": manifest.peak_rss_bytes,
        "records": manifest.rows,
        "dropped": sum(manifest.counts.dropped.values()),
        "tokens": manifest.tokens,
        "bytes": manifest.bytes,
        "teacher": teacher(manifest),
        "cost": manifest.cost.money,
    }


def checkpoints(store: Store, manifests: list[Manifest], significance: float) -> list[dict[str, Any]]:
    """Every evaluated checkpoint: its scores, and what became of the same problems since the checkpoint that it was made from."""
    evaluations = {m.asset.removeprefix(EVALUATION): _open(store, m) for m in manifests if m.asset.startswith(EVALUATION)}
    before = {m.asset: _predecessor(m, evaluations) for m in manifests if m.asset in evaluations}
    answers = {name: read_answers(evaluation) for name, evaluation in evaluations.items()}
    found = []
    for name, evaluation in evaluations.items():
        scores = evaluation.json("scores.json")
        entry: dict[str, Any] = {"asset": name, **{mode: {key: scores[mode][key] for key in SCORES} for mode in MODES}}
        previous = before.get(name)
        entry["predecessor"] = previous
        if previous:
            entry["change"] = {mode: asdict(change) for mode, change in compare(answers[previous], answers[name], significance).items()}
        found.append(entry)
    return found


def _predecessor(manifest: Manifest, evaluations: dict[str, Input]) -> str | None:
    """The evaluated checkpoint that this one was trained from."""
    return next((upstream.asset for upstream in manifest.inputs if upstream.asset in evaluations), None)


def _open(store: Store, manifest: Manifest) -> Input:
    return Input(manifest.asset, manifest.version, manifest.digest, store.outputs(manifest))
