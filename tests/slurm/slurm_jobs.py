"""The launcher of the virtual Slurm, and its jobs as processes."""

import os
from pathlib import Path
from typing import Any

import psutil
from cluster_jobs import SECTION, STEPS, checkpoints, counting, digests, training

from factory.cluster.config import SlurmConfig
from factory.cluster.local import LocalLauncher
from factory.cluster.slurm import SlurmLauncher


def launcher(root: Path, **settings: Any) -> SlurmLauncher:
    quick = {"poll_seconds": 0.3, "save_seconds": 20, "ranks_per_node": 1, "patience_seconds": 30.0}
    return SlurmLauncher(SlurmConfig(launcher="slurm", **{**quick, **settings}), root / "jobs")


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


__all__ = ["SECTION", "STEPS", "LocalLauncher", "SlurmLauncher", "checkpoints", "counting", "digests", "launcher", "ranks_of", "training"]
