"""What recipes may turn on: Muon, growing batches, shares that change, spikes that are skipped."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from training_worlds import MODEL, SHORT, digest_of, losses_of, metrics_of, run_here, straight_and_resumed

from factory.errors import SeedmillError
from factory.training import mixture, trainer
from factory.training.megatron import ChainedOptimizer

SECTION = {"model": MODEL, "steps": 12, **SHORT}
MUON = {"optimizer": {"kind": "muon"}}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_muon_learns_and_resumes_with_the_same_bits(world, precision):
    section = SECTION | MUON | {"precision": precision}
    straight, first, _, second = straight_and_resumed(world, "pretrained_checkpoint", "pretrain", section, "step-00000004")
    assert digest_of(second, "mcore") == digest_of(first, "mcore")
    losses = losses_of(straight)
    assert losses[-1] < losses[0] - 0.1
    adam = world.spec("pretrained_checkpoint", "pretrain", SECTION | {"precision": precision}, "adam")
    run_here(adam)
    assert losses_of(adam)[1:] != losses[1:]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_muon_clips_matrices_and_the_rest_by_one_norm(world, monkeypatch, precision):
    norms, real = [], ChainedOptimizer.step_with_ready_grads

    def step(self):
        norms.append(float(self.get_grad_norm()))
        return real(self)

    monkeypatch.setattr(ChainedOptimizer, "step_with_ready_grads", step)
    section = SECTION | {"steps": 3, "precision": precision, "optimizer": {"kind": "muon", "clip": 0.05}}
    spec = world.spec("pretrained_checkpoint", "pretrain", section)
    run_here(spec)
    assert all(row["grad_norm"] > 0.5 for row in metrics_of(spec)), "every step's gradient is to be clipped"
    assert norms == pytest.approx([0.05] * 3, rel=1e-3)


def test_a_growing_batch_reads_every_row_once_and_resumes(world):
    section = SECTION | {"batch_ramp": {"start": 4, "steps": 6}, "micro_batch": 2}
    straight, first, _, second = straight_and_resumed(world, "pretrained_checkpoint", "pretrain", section, "step-00000004")
    tokens = [row["tokens"] for row in metrics_of(straight)]
    sizes = [(b - a) // 32 for a, b in zip([0, *tokens], tokens, strict=False)]
    assert sizes == [4, 4, 4, 6, 6, 6, 8, 8, 8, 8, 8, 8]
    exposed = pq.read_table(Path(straight.folder) / "out" / "exposure").to_pylist()
    assert sum(row["rows"] for row in exposed) == sum(sizes)
    assert digest_of(second, "mcore") == digest_of(first, "mcore")


def test_a_spike_is_skipped_and_counted(world, monkeypatch):
    real = trainer.Trainer._forward_backward

    def spiking(self):
        sums = real(self)
        if self.counters.step == 50:
            sums[1] *= 10
        return sums

    monkeypatch.setattr(trainer.Trainer, "_forward_backward", spiking)
    section = SECTION | {"steps": 52, "spike": 5.0}
    spec = world.spec("pretrained_checkpoint", "pretrain", section)
    assert run_here(spec).metrics["skipped_steps"] == 1
    assert [row["step"] for row in metrics_of(spec) if row["grad_norm"] is None] == [51]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_gradient_that_is_no_number_or_spikes_is_skipped_though_the_loss_is_as_ever(world, monkeypatch, precision):
    real = trainer.Trainer._gradients

    def poisoned(self):
        sums = real(self)
        gradients = [parameter.main_grad for parameter in self.model[0].parameters()]
        if self.counters.step == 5:
            gradients[0].view(-1)[0] = float("nan")
        if self.counters.step == 50:
            for gradient in gradients:
                gradient.mul_(100)
        return sums

    monkeypatch.setattr(trainer.Trainer, "_gradients", poisoned)
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION | {"steps": 52, "spike": 5.0, "precision": precision})
    assert run_here(spec).metrics["skipped_steps"] == 2
    assert [row["step"] for row in metrics_of(spec) if row["grad_norm"] is None] == [6, 51]
    assert all(loss is not None for loss in losses_of(spec))


CHANGE = {"mixture_changes": [{"step": 6, "shares": {"web": 0.75, "code": 0.25}}, {"step": 9, "shares": {"code": 1.0}}]}


def test_a_mixture_that_changes_repeats_no_row(world):
    section = SECTION | CHANGE
    straight, first, _, second = straight_and_resumed(world, "pretrained_checkpoint", "pretrain", section, "step-00000004")
    exposed = pq.read_table(Path(straight.folder) / "out" / "exposure").to_pylist()
    drawn = {}
    for row in exposed:
        phase = (row["last_step"] > 6) + (row["last_step"] > 9)
        drawn[phase, row["asset"]] = drawn.get((phase, row["asset"]), 0) + row["rows"]
    web, code = "token_shards/web", "token_shards/code"
    assert drawn == {(0, web): 12, (0, code): 36, (1, web): 18, (1, code): 6, (2, code): 24}
    assert digest_of(second, "mcore") == digest_of(first, "mcore")


def test_phases_count_a_shards_rows_on():
    plan = [mixture.Phase(40, (0.25, 0.75)), mixture.Phase(12, (1.0, 0.0)), mixture.Phase(20, (0.5, 0.5))]
    whole = mixture.order(plan)
    for shard, rows in ((0, 10 + 12 + 10), (1, 30 + 10)):
        assert whole.row[whole.shard == shard].tolist() == list(range(rows))


def test_a_change_to_an_unknown_cluster_is_named(world):
    section = SECTION | {"mixture_changes": [{"step": 2, "shares": {"wob": 1.0}}]}
    with pytest.raises(SeedmillError, match=r"step 2 names clusters \['wob'\], but the blend has \['web', 'code'\]"):
        run_here(world.spec("pretrained_checkpoint", "pretrain", section))
