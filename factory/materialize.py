"""Materialize one asset: reuse the version that exists, or run its stage, verify what came out, and commit it.

The orchestrator calls this for every asset in the order that data flows. It holds no state of its own: killed at any moment
and called again, it finds the running job or the finished parts, and goes on.
"""

import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.cluster.api import Phase, attend
from factory.digest import file_digest
from factory.errors import SeedmillError, explaining_a_full_disk
from factory.experiment import Experiment
from factory.graph.stage import Stage
from factory.job import run_stage
from factory.lineage.closure import closure
from factory.locks import alone
from factory.parts import write_atomically
from factory.provenance import git_commit, package_versions
from factory.spec import InputSpec, JobSpec, Result
from factory.store.base import Attempt
from factory.store.local import safe
from factory.store.manifest import Manifest, Upstream, content_digest

ELSEWHERE = "another run makes this version just now: waiting for it"
Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Materialization:
    """What `materialize` did: the version, and whether it was there already."""

    manifest: Manifest
    reused: bool
    seconds: float


def ignore(_: dict[str, Any]) -> None:
    """The listener of callers who do not watch."""


def materialize(experiment: Experiment, name: str, *, rebuild: bool = False, listen: Listener = ignore) -> Materialization:
    """Make the wanted version of an asset exist and point the experiment to it.

    A fresh version is verified and reused; one whose files were damaged is set aside and built again. With `rebuild`, the
    stage runs once more from nothing, and a digest other than the committed one is an error. `listen` receives the stage's
    messages (progress, log) as they come. Another run of this machine that makes the same version is waited for. Raises
    SeedmillError when an upstream is not fresh or the stage fails.
    """
    begin = time.monotonic()
    stage = experiment.stage(name)
    inputs = experiment.inputs(stage)
    source = experiment.observe(stage)
    version = experiment.wanted(stage, {u: m.digest for u, m in inputs.items()}, source)
    # Two that make one version would write into one attempt, and the first to commit would tidy the other's away.
    lock = experiment.workspace / "locks" / f"{stage.name.replace('/', '.')}@{version}.lock"
    with explaining_a_full_disk(experiment.workspace), alone(lock, lambda: listen({"kind": "log", "text": ELSEWHERE})):
        manifest = experiment.store.manifest(stage.name, version)
        if manifest and not rebuild and not _damaged(experiment, manifest, listen):
            experiment.store.point(experiment.name, stage.name, version)
            return Materialization(manifest, reused=True, seconds=time.monotonic() - begin)
        attempt = _attempt(experiment, stage, version, from_nothing=rebuild)
        spec = _specification(experiment, stage, attempt, inputs)
        result = _run(experiment, stage, spec, listen)
        new = _manifest(experiment, stage, attempt, inputs, source, result, begin)
        committed = experiment.store.commit(attempt, new)
        if committed is not new:
            shutil.rmtree(attempt.folder)
        experiment.store.point(experiment.name, stage.name, version)
    return Materialization(committed, reused=False, seconds=time.monotonic() - begin)


def _damaged(experiment: Experiment, manifest: Manifest, listen: Listener) -> bool:
    problems = experiment.store.verify(manifest)
    if problems:
        listen({"kind": "log", "text": f"{manifest.asset} {manifest.version} is damaged and is built again: {'; '.join(problems[:3])}"})
        experiment.store.withdraw(manifest)
    return bool(problems)


def _attempt(experiment: Experiment, stage: Stage, version: str, *, from_nothing: bool) -> Attempt:
    """The attempt whose job runs or has finished already; else a new one."""
    for attempt in reversed(experiment.store.attempts(stage.name, version)):
        alive = stage.process and experiment.launcher.find(attempt.key).phase is Phase.RUNNING
        if not from_nothing and (alive or (attempt.folder / "result.json").exists()):
            return attempt
    attempt = experiment.store.begin(stage.name, version)
    return Attempt(attempt.asset, attempt.version, attempt.number, attempt.folder, ()) if from_nothing else attempt


def _specification(experiment: Experiment, stage: Stage, attempt: Attempt, inputs: dict[str, Manifest]) -> JobSpec:
    upstream = {
        name: InputSpec(
            asset=m.asset,
            version=m.version,
            digest=m.digest,
            path=str(experiment.store.outputs(m)),
            made_from={u.asset: u.digest for u in m.inputs},
        )
        for name, m in inputs.items()
    }
    spec = JobSpec(
        key=attempt.key,
        asset=stage.name,
        run=stage.run,
        section=stage.settings,
        seed=experiment.recipe.seed if stage.seeded else 0,
        inputs=upstream,
        folder=str(attempt.folder),
        previous=tuple(str(p) for p in attempt.previous),
        processes=stage.processes,
        threads=stage.threads,
        runtime=_runtime(experiment, stage, inputs),
    )
    write_atomically(attempt.folder / "job.json", spec.model_dump_json(indent=1).encode())
    return spec


def _runtime(experiment: Experiment, stage: Stage, inputs: dict[str, Manifest]) -> dict[str, Any]:
    runtime: dict[str, Any] = {"cache": str(experiment.workspace / "cache"), **stage.runtime}
    if stage.needs_manifests:
        runtime["manifests"] = [m.model_dump(mode="json") for m in closure(experiment.store, list(inputs.values()))]
    return runtime


def _run(experiment: Experiment, stage: Stage, spec: JobSpec, listen: Listener) -> Result:
    path = Path(spec.folder) / "result.json"
    if path.exists():
        result = Result.model_validate_json(path.read_bytes())
    elif stage.process:
        experiment.launcher.submit(spec.key, spec)
        result = attend(experiment.launcher, spec.key, listen)
    else:
        result = run_stage(spec, listen)
    _verify(spec, result)
    return result


def _verify(spec: JobSpec, result: Result) -> None:
    """An asset succeeds when the outputs are what the result says, never because a process exited 0."""
    result.counts.check(spec.asset)
    if not result.outputs:
        raise SeedmillError(f"{spec.asset}: the stage wrote no output")
    for output in result.outputs:
        for name, digest in output.files.items():
            path = Path(spec.folder) / "out" / safe(name)
            if not path.is_file() or file_digest(path) != digest:
                raise SeedmillError(f"{spec.asset}: output file {name} is missing or damaged; run again to make a new attempt")


def _same_source(stage: Stage, attempt: Attempt, observed: str | None, result: Result) -> None:
    """A source that changed between its observation and its reading would be stored under the wrong version."""
    read = result.metrics.get("source_version", observed)
    if read != observed:
        (attempt.folder / "result.json").unlink()
        raise SeedmillError(f"{stage.name}: the source changed while it was read (observed {observed}, read {read}); run again")


def _manifest(
    experiment: Experiment,
    stage: Stage,
    attempt: Attempt,
    inputs: dict[str, Manifest],
    source: str | None,
    result: Result,
    begin: float,
) -> Manifest:
    seconds = time.monotonic() - begin
    ended = datetime.now(UTC)
    return Manifest(
        asset=stage.name,
        version=attempt.version,
        digest=content_digest(result.outputs),
        code_version=stage.code_version,
        section=stage.settings,
        seed=experiment.recipe.seed if stage.seeded else None,
        source_version=source,
        inputs=[Upstream(asset=m.asset, version=m.version, digest=m.digest) for m in inputs.values()],
        attempt=attempt.number,
        started=datetime.fromtimestamp(ended.timestamp() - seconds, UTC).isoformat(timespec="seconds"),
        ended=ended.isoformat(timespec="milliseconds"),
        seconds=seconds,
        where={"host": platform.node(), "system": platform.platform(), "python": platform.python_version()},
        commit=git_commit(),
        packages=package_versions(),
        **result.model_dump(include={"outputs", "counts", "metrics", "cost", "seeds", "cpu_seconds", "peak_rss_bytes"}),
    )
