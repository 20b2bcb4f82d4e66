"""A job that is killed and started again ends with the bits of one that was not."""

import signal
import time
from pathlib import Path

import pytest
from training_worlds import MODEL, SHORT, digest_of, finish, metrics_of, run_here, start, straight_and_resumed

OUTPUTS = ("mcore", "hf", "metrics.jsonl", "exposure")
FROM_PRETRAINED = {"start_from": "pretrained_checkpoint", **SHORT, "sequence_length": 40}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_pretraining_resumed_from_its_middle_ends_with_the_same_bits(world, precision):
    section = {"model": MODEL, "steps": 11, "precision": precision, **SHORT}
    straight, first, resumed, second = straight_and_resumed(world, "pretrained_checkpoint", "pretrain", section, "step-00000004")
    assert [digest_of(second, name) for name in OUTPUTS] == [digest_of(first, name) for name in OUTPUTS]
    assert "resumed at step 4 of 11" in (Path(resumed.folder) / "messages.jsonl").read_text()
    assert [m["step"] for m in metrics_of(straight)] == list(range(1, 12))


def test_a_sharded_optimiser_resumes_with_the_same_bits(world):
    section = {"model": MODEL, "steps": 7, "layout": {"distributed_optimizer": True}, **SHORT}
    _, first, _, second = straight_and_resumed(world, "pretrained_checkpoint", "pretrain", section, "step-00000004")
    assert digest_of(second, "mcore") == digest_of(first, "mcore")


def test_fine_tuning_resumes_with_the_same_bits(trained, letters):
    section = {**FROM_PRETRAINED, "steps": 6}
    _, first, _, second = straight_and_resumed(trained, "sft_resume", "sft", section, "step-00000004")
    assert [digest_of(second, name) for name in OUTPUTS] == [digest_of(first, name) for name in OUTPUTS]


def test_preference_optimisation_resumes_with_the_same_bits(trained):
    section = {**FROM_PRETRAINED, "steps": 6}
    _, first, _, second = straight_and_resumed(trained, "dpo_resume", "dpo", section, "step-00000004")
    assert [digest_of(second, name) for name in OUTPUTS] == [digest_of(first, name) for name in OUTPUTS]


def test_only_the_newest_checkpoints_are_kept(world):
    spec = world.spec("pretrained_checkpoint", "pretrain", {"model": MODEL, "steps": 17, **SHORT})
    run_here(spec)
    assert sorted(p.name for p in (Path(spec.folder) / "parts").iterdir()) == ["step-00000012", "step-00000016"]


@pytest.mark.kill
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_job_that_is_stopped_goes_on_where_it_was(world, number, status):
    section = {"model": MODEL, "steps": 100, **SHORT, "checkpoint_every": 20}
    spec = world.spec("pretrained_checkpoint", "pretrain", section, "stopped")
    process, parts = start(spec), Path(spec.folder) / "parts"
    while not list(parts.glob("step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status
    if status == 143:
        assert len(metrics_of_newest_part(parts)) % 20, "it saved where it was, not at a checkpoint that was due anyway"
    again = finish(spec)
    undisturbed = run_here(world.spec("pretrained_checkpoint", "pretrain", section, "undisturbed"))
    assert [digest_of(again, name) for name in OUTPUTS] == [digest_of(undisturbed, name) for name in OUTPUTS]


def metrics_of_newest_part(parts):
    return (max(parts.glob("step-*")) / "metrics.jsonl").read_text().splitlines()
