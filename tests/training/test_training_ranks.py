"""The same rows, the same losses, at whatever layout."""

import time
from pathlib import Path

import psutil
import pytest
from training_worlds import MODEL, SHORT, finish, losses_of, metrics_of, run_here, start

pytestmark = pytest.mark.ranks


def test_two_data_ranks_with_a_sharded_optimiser_train_as_one_process(world):
    section = {"model": MODEL, "steps": 6, "precision": "fp32", **SHORT}
    alone = world.spec("pretrained_checkpoint", "pretrain", section, "alone")
    two = section | {"layout": {"data": 2, "distributed_optimizer": True}}
    shared = world.spec("pretrained_checkpoint", "pretrain", two, "shared", processes=2)
    run_here(alone)
    finish(shared)
    assert losses_of(shared) == pytest.approx(losses_of(alone), rel=1e-5)


@pytest.mark.parametrize("layout", [{"tensor": 2, "sequence_parallel": True}, {"pipeline": 2}, {"context": 2}], ids=str)
def test_a_checkpoint_goes_on_at_another_layout(trained, layout):
    trained.inputs["long_context_blend"] = trained.inputs.get("long_context_blend") or trained.add_long_blend()
    section = {**SHORT, "precision": "fp32", "steps": 5}
    name = "-".join(layout)
    alone = trained.spec("midtrained_checkpoint", "midtrain", section, f"alone-{name}")
    split = trained.spec("midtrained_checkpoint", "midtrain", section | {"layout": layout}, f"split-{name}", processes=2)
    run_here(alone)
    finish(split)
    assert losses_of(split) == pytest.approx(losses_of(alone), rel=1e-5)


@pytest.mark.kill
def test_ranks_do_not_outlive_a_killed_launcher(world):
    section = {"model": MODEL, "steps": 5000, **SHORT, "layout": {"data": 2}}
    spec = world.spec("pretrained_checkpoint", "pretrain", section, processes=2)
    launcher = start(spec)
    ranks = wait_for(lambda: psutil.Process(launcher.pid).children() if list((Path(spec.folder) / "parts").glob("step-*")) else [])
    launcher.kill()
    launcher.communicate()
    assert len(ranks) == 2
    _, alive = psutil.wait_procs(ranks, timeout=20)
    assert not alive


@pytest.mark.kill
def test_a_request_to_stop_reaches_all_ranks_and_they_save_together(world):
    section = {"model": MODEL, "steps": 60, **SHORT, "checkpoint_every": 10, "layout": {"data": 2}}
    spec = world.spec("pretrained_checkpoint", "pretrain", section, "stopped", processes=2)
    launcher = start(spec)
    wait_for(lambda: list((Path(spec.folder) / "parts").glob("step-*")))
    launcher.terminate()
    launcher.communicate(timeout=60)
    assert launcher.returncode == 143
    finish(spec)
    assert [row["step"] for row in metrics_of(spec)] == list(range(1, 61))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError
