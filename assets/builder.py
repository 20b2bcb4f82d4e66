"""From a stage of the graph to a Dagster asset: one small function for all of them.

Dagster gets what it needs to show and schedule the graph: keys, groups, code versions, data versions, checks, figures.
What was read and made is recorded in the factory's own manifests.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from assets.checks import Check, audit
from assets.instance import PROCESS
from factory.errors import SeedmillError
from factory.experiment import Experiment
from factory.graph.stage import Stage
from factory.materialize import Materialization
from factory.store.manifest import Manifest
from resources.factory import FactoryResource

POOL = "cores"
SECONDS_BETWEEN_LINES = 15.0
Figures = Callable[[Manifest, Path], dict[str, bytes | None]]


def no_figures(_manifest: Manifest, _folder: Path) -> dict[str, bytes | None]:
    """Assets that are not worth a picture."""
    return {}


@dataclass(frozen=True)
class Group:
    """What the assets of a group have in common: who answers for them, what is checked, which pictures they show."""

    name: str
    owner: str
    checks: tuple[Check, ...]
    figures: Figures = no_figures


def asset_key(experiment: str, name: str) -> dg.AssetKey:
    """EXPERIMENT/ASSET, the asset's own slashes included."""
    return dg.AssetKey([experiment, *name.split("/")])


def runs_here(experiment: Experiment) -> bool:
    """Whether jobs are processes of this machine; a cluster's own queue shares out its machines."""
    return experiment.recipe.cluster.launcher == "local"


def build_group(group: Group, experiment: Experiment) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """The assets of a group, each followed by its audit."""
    own = [stage for stage in experiment.stages.values() if stage.group == group.name]
    return [
        definition
        for stage in own
        for definition in (build_asset(stage, group, experiment), audit(stage, asset_key(experiment.name, stage.name)))
    ]


def build_asset(stage: Stage, group: Group, experiment: Experiment) -> dg.AssetsDefinition:
    """The Dagster asset of a stage. A user's mistake fails the step with one line; an interrupt cancels the stage's job."""
    key = asset_key(experiment.name, stage.name)
    checks = [check for check in group.checks if check.applies(stage)]

    @dg.asset(
        key=key,
        group_name=group.name,
        description=stage.description,
        kinds=set(stage.kinds),
        owners=[group.owner],
        code_version=str(stage.code_version),
        deps=[asset_key(experiment.name, name) for name in stage.inputs],
        check_specs=[check.spec(key) for check in checks],
        pool=POOL if stage.process and runs_here(experiment) else None,
        metadata={"run": stage.run, "section": dg.MetadataValue.json(stage.settings)},
    )
    def compute(context: dg.AssetExecutionContext, factory: FactoryResource) -> dg.MaterializeResult:
        try:
            done = factory.materialize(stage.name, _Narrator(context.log))
        except SeedmillError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        except DagsterExecutionInterruptedError:
            if PROCESS in context.run.tags:  # Dagster takes only a request through its UI for a wish to stop
                context.instance.report_run_canceling(context.run)
            raise
        results = [check.result(key, factory.experiment, done.manifest) for check in checks]
        metadata = {**describe(done), **_pictures(group, factory.experiment, done.manifest), **trace(done.manifest)}
        return dg.MaterializeResult(
            asset_key=key, data_version=dg.DataVersion(done.manifest.digest), metadata=metadata, check_results=results
        )

    return compute


def describe(done: Materialization) -> dict[str, Any]:
    """The figures of a manifest as Dagster metadata: numbers stay numbers, because the UI plots them over time."""
    manifest = done.manifest
    counts, cost = manifest.counts, manifest.cost
    spent = {
        "GPU seconds": cost.gpu_seconds,
        "teacher requests": cost.teacher_requests,
        "teacher tokens": cost.teacher_input_tokens + cost.teacher_output_tokens,
        "cost": cost.money,
        "tokens": manifest.tokens,
        "records read": counts.read,
        "records kept": counts.kept,
    }
    return {
        "version": manifest.version,
        "reused": done.reused,
        "dagster/row_count": manifest.rows,
        "bytes": manifest.bytes,
        "seconds": manifest.seconds,
        "CPU seconds": manifest.cpu_seconds,
        "peak memory (bytes)": manifest.peak_rss_bytes,
        **{name: value for name, value in spent.items() if value},
    }


def trace(manifest: Manifest) -> dict[str, Any]:
    """What was read and made, in full: below the pictures, since it may be long."""
    values = {
        "records dropped": manifest.counts.dropped,
        "records made": manifest.counts.made,
        "inputs": {u.asset: {"version": u.version, "digest": u.digest} for u in manifest.inputs},
        "metrics": manifest.metrics,
    }
    return {"commit": manifest.commit, **{name: dg.MetadataValue.json(value) for name, value in values.items() if value}}


def _pictures(group: Group, experiment: Experiment, manifest: Manifest) -> dict[str, dg.MarkdownMetadataValue]:
    drawn = group.figures(manifest, experiment.store.outputs(manifest))
    return {title: dg.MetadataValue.md(_markdown(title, png)) for title, png in drawn.items() if png}


def _markdown(title: str, png: bytes) -> str:
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


class _Narrator:
    """Turns a stage's messages into the lines of a Dagster run: every log line, and progress now and then."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log
        self._last = 0.0

    def __call__(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind in ("log", "output"):
            (self._log.info if kind == "log" else self._log.debug)(message["text"])
        elif kind == "progress" and time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._log.info(_progress(message))


def _progress(message: dict[str, Any]) -> str:
    rest = {name: value for name, value in message.items() if name not in ("kind", "time", "done", "total", "unit")}
    figures = "".join(f", {name} {value:.4g}" for name, value in rest.items() if isinstance(value, int | float))
    return f"{message['done']:g} of {message['total']:g} {message['unit']}{figures}"
