"""The Dagster instance of a workspace, and the runs in it that a crash left behind."""

import os
import shutil
from pathlib import Path

import dagster as dg
import psutil
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from factory.locks import alone

PROCESS = "seedmill/process"
TEMPLATE = Path(__file__).with_name("dagster.yaml")


def home(workspace: Path) -> Path:
    """DAGSTER_HOME of a workspace, made with our settings where it does not exist yet."""
    folder = workspace / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        shutil.copy(TEMPLATE, folder / "dagster.yaml")
    return folder


def open_instance(workspace: Path) -> DagsterInstance:
    """The persistent instance that the command line and the web UI share."""
    with alone(workspace / "locks" / "dagster.lock"):  # two first runs would both create its tables
        folder = home(workspace)
        os.environ["DAGSTER_HOME"] = str(folder)
        return DagsterInstance.from_config(str(folder))


def process_tag() -> str:
    """Number and start time of this process, so that a later one can tell whether it still runs."""
    return f"{os.getpid()}:{psutil.Process().create_time():.0f}"


def reap(instance: DagsterInstance) -> list[str]:
    """Report runs of killed command lines as failed and free their places in the pools; returns their ids.

    Runs that the web UI launched carry no tag of ours: the daemon's run monitoring looks after them.
    """
    statuses = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING]
    dead = [run for run in instance.get_runs(RunsFilter(statuses=statuses)) if _is_dead(run)]
    for run in dead:
        instance.report_run_failed(run, "The process of this run was killed; what it had finished is kept.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def _is_dead(run: dg.DagsterRun) -> bool:
    tag = run.tags.get(PROCESS)
    if tag is None:
        return False
    number, _, created = tag.partition(":")
    try:
        process = psutil.Process(int(number))
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - float(created)) > 2
    except psutil.NoSuchProcess:
        return True
