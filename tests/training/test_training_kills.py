"""Twenty kills at random moments of a 200-step run leave no trace in its bits."""

import random
import shutil
import time
from pathlib import Path

import pytest
from training_worlds import MODEL, SHORT, digest_of, run_here, start

from factory.spec import Result

OUTPUTS = ("mcore", "hf", "metrics.jsonl", "exposure")
KILLS = 20


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_at_random_moments_change_no_bit(world):
    section = {"model": MODEL, "steps": 200, **SHORT, "checkpoint_every": 10}
    undisturbed = run_here(world.spec("pretrained_checkpoint", "pretrain", section, "undisturbed"))
    spec, moments, kills, ended = world.spec("pretrained_checkpoint", "pretrain", section, "killed"), random.Random(3), 0, []
    while kills < KILLS or not ended:
        process = start(spec)
        if kills < KILLS:
            wait_until_it_trains(process, Path(spec.folder) / "messages.jsonl")
            time.sleep(moments.uniform(0, 0.4))
            process.kill()
        process.communicate(timeout=120)
        kills += process.returncode == -9
        if process.returncode != -9:
            assert process.returncode == 0
            ended.append(Result.model_validate_json((Path(spec.folder) / "result.json").read_bytes()))
            shutil.rmtree(Path(spec.folder) / "parts")
    for result in ended:
        assert [digest_of(result, name) for name in OUTPUTS] == [digest_of(undisturbed, name) for name in OUTPUTS]


def wait_until_it_trains(process, messages):
    """Imports take most of a short job's life: random moments are drawn from the rest."""
    before = messages.stat().st_size if messages.exists() else 0
    while process.poll() is None and (not messages.exists() or messages.stat().st_size == before):
        time.sleep(0.01)
