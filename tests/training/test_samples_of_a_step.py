"""What single steps read, found again from the job alone, adds up to what the run says it read."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from training_worlds import MODEL, SHORT, run_here

from factory.errors import SeedmillError
from factory.training.samples import samples

PACKED = {"start_from": "pretrained_checkpoint", **SHORT, "sequence_length": 40, "steps": 3}


def jobs(world):
    world.inputs["long_context_blend"] = world.inputs.get("long_context_blend") or world.add_long_blend()
    growing = {"model": MODEL, **SHORT, "micro_batch": 2, "steps": 5, "batch_ramp": {"start": 4, "steps": 3}}
    return {
        "pretrain": world.spec("steps_of_pretrain", "pretrain", growing),
        "midtrain": world.spec("steps_of_midtrain", "midtrain", {**SHORT, "steps": 3}),
        "sft": world.spec("steps_of_sft", "sft", PACKED),
        "dpo": world.spec("steps_of_dpo", "dpo", PACKED | {"pairs": "pivotal_pairs"}),
    }


@pytest.mark.parametrize("stage", ["pretrain", "midtrain", "sft", "dpo"])
def test_the_samples_of_all_steps_are_the_runs_exposure(trained, letters, stage):
    spec = jobs(trained)[stage]
    run_here(spec)
    told = pq.read_table(Path(spec.folder) / "out" / "exposure").to_pylist()
    before = sorted(str(path) for path in Path(spec.folder).rglob("*"))
    for step in (1, 3):
        expected = [row for row in told if row["first_step"] == row["last_step"] == step]
        assert expected
        assert list(samples(spec, step)) == [{name: row[name] for name in ("asset", "items", "rows", "tokens")} for row in expected]
    assert sorted(str(path) for path in Path(spec.folder).rglob("*")) == before


def test_a_step_that_there_is_not_and_a_job_without_steps_are_named(trained):
    spec = jobs(trained)["midtrain"]
    for step in (0, 4):
        with pytest.raises(SeedmillError, match=f"steps_of_midtrain has no step {step}"):
            list(samples(spec, step))
    with pytest.raises(SeedmillError, match="takes no training steps"):
        list(samples(spec.model_copy(update={"run": "factory.tokens.blend:run"}), 1))
