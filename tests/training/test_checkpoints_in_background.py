"""Training goes on while a checkpoint is written, and the checkpoint is of the step at which it began."""

import functools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from training_worlds import CHECKOUT, MODEL, SHORT, digest_of, run_here

from factory.errors import USER_ERROR
from factory.training import trainer
from factory.training.launch import RENDEZVOUS

SECTION = {"model": MODEL, "steps": 11, "precision": "fp32", **SHORT}


def parts_of(spec):
    folder = Path(spec.folder) / "parts"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def writer(monkeypatch):
    """Lets a test do something before anything is written: it is called with the name of the file."""
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    real, before = filesystem_async._write_item, []

    @functools.wraps(real)
    def write(*args, **kwargs):
        for call in before:
            call(next(str(a.name) for a in args if hasattr(a, "name")))
        return real(*args, **kwargs)

    monkeypatch.setattr(filesystem_async, "_write_item", write)
    return before


def test_steps_are_taken_while_a_checkpoint_is_written(world, writer, monkeypatch):
    go_on, seen, real = threading.Event(), {}, trainer.Trainer.step

    def step(self):
        stop = real(self)
        seen[self.counters.step] = (self.saver.busy, [p for p in parts_of(self.context.spec) if not p.startswith(".")])
        if self.counters.step == 7:
            go_on.set()
        return stop

    monkeypatch.setattr(trainer.Trainer, "step", step)
    writer.append(lambda name: "step-00000004" not in name or go_on.wait(60) or pytest.fail("no step was taken meanwhile"))
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION, "background")
    slow = run_here(spec)
    assert [seen[step] for step in (5, 6, 7)] == [(True, [])] * 3
    assert seen[8][1] in ([], ["step-00000004"])
    assert parts_of(spec) == ["step-00000004", "step-00000008"]
    shutil.rmtree(Path(spec.folder) / "parts" / "step-00000008")
    resumed = run_here(world.spec("pretrained_checkpoint", "pretrain", SECTION, "resumed", previous=(spec.folder,)))
    assert digest_of(resumed, "mcore") == digest_of(slow, "mcore")


def test_what_a_killed_writer_left_is_cleared_away(world):
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION, "left")
    left = Path(spec.folder) / "parts" / ".step-00000004.999999"
    left.mkdir(parents=True)
    run_here(spec)
    assert not left.exists()


@pytest.mark.ranks
def test_a_disk_that_is_full_for_one_of_two_ranks_is_one_clear_error_for_both(world):
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION | {"layout": {"tensor": 2}}, "full")
    (Path(spec.folder) / "job.json").write_text(spec.model_dump_json())
    ranks = [start_rank(Path(spec.folder), rank) for rank in range(2)]
    statuses = [rank.wait(120) for rank in ranks]
    errors = [log_of(Path(spec.folder), rank).read_text() for rank in range(2)]
    assert statuses == [USER_ERROR] * 2, errors
    assert all("no room left to write" in error and "Traceback" not in error for error in errors)
    assert parts_of(spec) == ["step-00000004"]


def start_rank(folder, rank):
    world = {"RANK": str(rank), "WORLD_SIZE": "2", RENDEZVOUS: str(folder / "rendezvous"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("full_disk_rank.py")), str(folder / "job.json")]
    environment = os.environ | world | {"PYTHONPATH": str(CHECKOUT)}
    with log_of(folder, rank).open("w") as stream:
        return subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdin=subprocess.PIPE, stderr=stream)


def log_of(folder, rank):
    return folder / f"rank-{rank}.log"
