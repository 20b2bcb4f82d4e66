"""The rates that a run really uses, step by step, beside the formulas of its recipe."""

import math

import pytest
from training_worlds import MODEL, SHORT, metrics_of, run_here

PEAK, FLOOR, STEPS, WARM = 1e-3, 1e-4, 10, 3


def linear(done):
    return 1 - done


def cosine(done):
    return (1 + math.cos(math.pi * done)) / 2


def constant(_):
    return 1.0


@pytest.mark.parametrize("shape", [linear, cosine, constant])
def test_the_rate_warms_up_in_equal_steps_and_decays_in_its_shape(world, shape):
    """From step 1 of the warm-up at PEAK / WARM; the decay reaches FLOOR where a step after the last would be."""
    optimizer = {"lr": PEAK, "min_lr": FLOOR, "warmup": WARM / STEPS, "decay": shape.__name__}
    section = {"model": MODEL, "steps": STEPS, "precision": "fp32", "optimizer": optimizer, **SHORT}
    spec = world.spec("pretrained_checkpoint", "pretrain", section)
    run_here(spec)
    warming = [PEAK * step / WARM for step in range(1, WARM + 1)]
    decaying = [FLOOR + (PEAK - FLOOR) * shape((step - WARM) / (STEPS + 1 - WARM)) for step in range(WARM + 1, STEPS + 1)]
    assert [row["lr"] for row in metrics_of(spec)] == pytest.approx(warming + decaying, rel=1e-6)
