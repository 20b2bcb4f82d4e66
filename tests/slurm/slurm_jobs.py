"""Job specifications and launchers that the tests of Slurm share."""

import os
from pathlib import Path
from typing import Any

import psutil
from training_worlds import MODEL, SHORT, World, digest_of

from factory.cluster.config import SlurmConfig
from factory.cluster.local import LocalLauncher
from factory.cluster.slurm import SlurmLauncher
from factory.spec import JobSpec, Result

STEPS = 100
SECTION = {**SHORT, "model": MODEL, "steps": STEPS, "precision": "fp32", "checkpoint_every": 1000, "layout": {"data": 2}}


def launcher(root: Path, **settings: Any) -> SlurmLauncher:
    quick = {"poll_seconds": 0.3, "save_seconds": 20, "ranks_per_node": 1, "patience_seconds": 30.0}
    return SlurmLauncher(SlurmConfig(launcher="slurm", **{**quick, **settings}), root / "jobs")


def counting(root: Path, to: int, pause: float = 0.0, attempt: int = 1, run: str = "slurm_stages:count", processes: int = 1) -> JobSpec:
    return JobSpec(
        key=f"tiny@v1#{attempt}",
        asset="tiny",
        run=run,
        section={"to": to, "pause": pause},
        seed=1,
        inputs={},
        folder=str(root / str(attempt)),
        processes=processes,
    )


def training(world: World, attempt: str, *previous: str, pause: float | None = None) -> JobSpec:
    """Two ranks over a tiny model; with a `pause` after each step of the first start."""
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION, attempt, processes=2, previous=tuple(previous))
    runtime = spec.runtime if pause is None else {**spec.runtime, "pause": pause}
    return spec.model_copy(update={"run": "slurm_stages:pretrain", "key": f"pretrained_checkpoint@v1#{attempt}", "runtime": runtime})


def digests(result: Result) -> dict[str, str]:
    """Of everything that training leaves."""
    return {name: digest_of(result, name) for name in ("mcore", "hf", "metrics.jsonl", "exposure")}


def checkpoints(attempt: Path) -> list[str]:
    """The checkpoints that the starts of an attempt have saved so far."""
    return sorted(path.name for path in attempt.glob("starts/*/parts/step-*"))


def ranks_of(job: int, restart: int) -> list[psutil.Process]:
    """The processes that work in one start of a job of this cluster (another test's may count its jobs from 1 too)."""
    found = []
    for process in psutil.process_iter():
        try:
            place = process.environ()
            ours = place.get("SLURM_CONF") == os.environ["SLURM_CONF"] and place.get("SLURM_JOB_ID") == str(job)
            ours = ours and int(place.get("SLURM_RESTART_COUNT", "0")) == restart
            if ours and "factory.job" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


__all__ = ["STEPS", "LocalLauncher", "checkpoints", "counting", "digests", "launcher", "ranks_of", "training"]
