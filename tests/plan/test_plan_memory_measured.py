"""Predicted memory against a real training step on the CPU: what the allocator gave, not what a formula says."""

import gc
from collections.abc import Iterator

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from factory.plan import memory, params
from factory.plan.build import KEPT_CHECKPOINTS
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import PretrainConfig

SHAPES = {
    "narrow": ModelConfig(layers=3, hidden_size=128, ffn_hidden_size=352, attention_heads=4, kv_heads=2),
    "wide": ModelConfig(layers=2, hidden_size=256, ffn_hidden_size=512, attention_heads=8, kv_heads=8),
}
CASES = [
    ("narrow", {"micro_batch": 4, "sequence_length": 256}, 1024),
    ("narrow", {"micro_batch": 4, "sequence_length": 256, "layout": LayoutConfig(recompute=True)}, 1024),
    ("narrow", {"micro_batch": 8, "sequence_length": 128, "precision": "fp32"}, 512),
    ("wide", {"micro_batch": 16, "sequence_length": 64}, 4096),
    ("wide", {"micro_batch": 1, "sequence_length": 512}, 512),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(("shape", "fields", "vocab_size"), CASES)
def test_predicted_memory_is_within_a_tenth_of_the_measured(shape, fields, vocab_size):
    training = PretrainConfig(model=SHAPES[shape], global_batch=fields["micro_batch"], **fields)
    state, peak = measure(training, vocab_size)
    predicted = memory.predict(training.model, training, vocab_size, None)
    assert predicted.weights + predicted.gradients + predicted.optimizer == pytest.approx(state, rel=0.02)
    assert predicted.activations == pytest.approx(peak, rel=0.1)
    assert predicted.total == pytest.approx(state + peak, rel=0.1)


def measure(training: PretrainConfig, vocab_size: int) -> tuple[int, int]:
    """Bytes of all tensors between two steps, and bytes that a step allocates beyond them at its peak."""
    from factory.training import model, optimizer
    from factory.training.distributed import joined
    from factory.training.megatron import get_forward_backward_func
    from factory.training.objectives import NextToken

    gc.collect()
    before = live_bytes()
    with joined(training.layout, 0):
        chunks = model.build(training.model, training, vocab_size)
        (gpt,) = chunks
        adam = optimizer.build(chunks, training)
        gpt.train()

        def step() -> None:
            gpt.zero_grad_buffer()
            adam.zero_grad()
            get_forward_backward_func()(
                forward_step_func=NextToken().forward,
                data_iterator=batches(training, vocab_size),
                model=[*chunks],
                num_microbatches=1,
                seq_length=training.sequence_length,
                micro_batch_size=training.micro_batch,
                forward_only=False,
            )
            assert optimizer.guarded_step(adam, 1.0, usable=True) is not None

        step()  # the optimiser makes its state in the first one
        gc.collect()
        state = live_bytes() - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            step()
    return state, peak_bytes(profiler)


def batches(training: PretrainConfig, vocab_size: int) -> Iterator[dict[str, torch.Tensor]]:
    tokens = torch.randint(0, vocab_size, (training.micro_batch, training.sequence_length))
    yield {"tokens": tokens, "labels": tokens.clone(), "loss_mask": torch.ones(tokens.shape)}


def live_bytes() -> int:
    """All tensors that exist, each storage once."""
    tensors = [thing for thing in gc.get_objects() if type(thing) in {torch.Tensor, torch.nn.Parameter}]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def peak_bytes(profiler: profile) -> int:
    """The most that was allocated at once since the profile began."""
    now = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def test_checkpoints_weigh_what_the_plan_says(tmp_path):
    from factory.training import checkpoint, model, optimizer
    from factory.training.distributed import joined

    training = PretrainConfig(model=SHAPES["narrow"], micro_batch=1, global_batch=1)
    with joined(training.layout, 0):
        chunks = model.build(training.model, training, 1024)
        adam = optimizer.build(chunks, training)
        for parameter in chunks[0].parameters():
            parameter.main_grad.fill_(1e-3)
        optimizer.guarded_step(adam, 1.0, usable=True)
        folder = tmp_path / "mcore"
        folder.mkdir()
        checkpoint.save(folder, chunks, adam, optimizer.schedule(adam, training.optimizer, 10), checkpoint.Counters())
    weighed = sum(path.stat().st_size for path in folder.rglob("*"))
    assert weighed == pytest.approx(14 * params.total(training.model, 1024), rel=0.1)


def test_the_plan_keeps_as_many_checkpoints_as_the_trainer():
    from factory.training import trainer

    assert trainer.KEPT_CHECKPOINTS == KEPT_CHECKPOINTS
