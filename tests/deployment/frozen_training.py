"""Pretraining under the production services, held still in mid-training while a test kills what started it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml
from dagster import DagsterInstance, DagsterRunStatus

ROOT = Path(__file__).resolve().parents[2]
ASSET, STEPS = "pretrained_checkpoint", 600
RETRIED = "dagster/root_run_id"


def wait_for(condition: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def write_recipe(path: Path, **sections: dict) -> Path:
    """The smoke recipe with a pretraining that lasts long enough to be met in its middle."""
    recipe = yaml.safe_load((ROOT / "recipes" / "smoke.yaml").read_text())
    recipe["training"]["pretrain"] |= {"steps": STEPS, "checkpoint_every": 200}
    path.write_text(yaml.safe_dump(recipe | sections))
    return path


def pretrain(smoke: Path, workspace: Path) -> None:
    """Pretrain in a copy of the smoke run's workspace, undisturbed and on this machine."""
    shutil.copytree(smoke / "store", workspace / "store")
    command = [sys.executable, "-m", "assets.run", str(write_recipe(workspace / "recipe.yaml")), "--select", f"+{ASSET}"]
    own = {"SEEDMILL_HOME": str(workspace), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env={**os.environ, **own}, cwd=ROOT, check=True)
    shutil.rmtree(workspace / "jobs")


def without_pretraining(made: Path, workspace: Path) -> None:
    """A workspace in which pretraining is all that the finished one at `made` has and this one lacks."""
    for folder in ("store", "jobs"):
        shutil.rmtree(workspace / folder, ignore_errors=True)
    shutil.copytree(made / "store", workspace / "store")
    shutil.rmtree(workspace / "store" / "artifacts" / ASSET)


def manifest(workspace: Path) -> dict:
    """Of the newest pretraining."""
    paths = (workspace / "store" / "artifacts" / ASSET).glob("*/manifest.json")
    return json.loads(max(paths, key=lambda path: path.stat().st_mtime).read_bytes())


def checkpoints(workspace: Path) -> list[int]:
    """The steps at which training has saved itself, over everything that was ever started."""
    paths = (workspace / "store" / "artifacts" / ASSET).glob("*/attempts/*/starts/*/parts/step-*")
    return sorted(int(path.name.split("-")[1]) for path in paths)


def is_one_training(told: list[int]) -> bool:
    """Whether steps were told once each, in order and to the end."""
    return told == sorted(set(told)) and told[-1] == STEPS


def steps(workspace: Path) -> list[int]:
    """The steps that training has told, over everything that was ever started."""
    paths = (workspace / "store" / "artifacts" / ASSET).glob("*/attempts/*/messages.jsonl")
    messages = [json.loads(line) for path in paths for line in path.read_text().splitlines() if line.endswith("}")]
    return [message["done"] for message in messages if message["kind"] == "progress"]


@contextmanager
def held(workspace: Path, ranks: Callable[[], list[psutil.Process]]) -> Iterator[list[psutil.Process]]:
    """Wait until training has made steps, and stop its processes until the block ends: what happens in it happens in mid-training."""
    wait_for(lambda: len(steps(workspace)) >= 3)
    stopped = ranks()
    for rank in stopped:
        rank.suspend()
    try:
        assert stopped, "training had ended before it could be held"
        assert steps(workspace)[-1] < STEPS
        yield stopped
    finally:
        for rank in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                rank.resume()


def retry_of(instance: DagsterInstance, run_id: str) -> str | None:
    """The run that Dagster has launched in the place of a failed one, once it executes."""
    for run in instance.get_runs():
        if run.tags.get(RETRIED) == run_id and run.status is DagsterRunStatus.STARTED:
            return run.run_id
    return None
