"""The DPO loss is the paper's, by hand; and training on pairs prefers what was chosen."""

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from training_worlds import SHORT, metrics_of, run_here

from factory.training.objectives import REPORT, Preference

BATCH = {
    "segments": torch.tensor([[0, 0, 0, 1, 1, -1], [2, 2, 3, 3, 3, -1]]),
    "loss_mask": torch.tensor([[0.0, 1, 1, 0, 1, 0], [0.0, 1, 0, 1, 1, 0]]),
    "reference": torch.tensor([[-1.5, -0.5], [-2.0, -3.5]]),
    "lengths": torch.tensor([[2.0, 1.0], [1.0, 2.0]]),
}
LOSSES = [[9.0, 0.5, 0.75, 9.0, 2.0, 9.0], [9.0, 1.0, 9.0, 1.5, 1.0, 9.0]]
POLICY = [(-1.25, -2.0), (-1.0, -2.5)]


def by_hand(beta, nll):
    """Rafailov et al. 2023, eq. 7, and the gradient of the first pair's first chosen label: -beta (1 - sigmoid(margin)) d log p."""
    margins = [beta * ((c - rc) - (r - rr)) for (c, r), (rc, rr) in zip(POLICY, BATCH["reference"].tolist(), strict=True)]
    losses = [math.log1p(math.exp(-m)) for m in margins]
    penalty = nll * (1.25 / 2 + 1.0 / 1)
    gradient = beta * (1 - 1 / (1 + math.exp(-margins[0]))) + nll / 2
    return sum(losses) + penalty, margins, gradient


@pytest.mark.parametrize(("beta", "nll"), [(0.2, 0.0), (0.5, 0.3)])
def test_loss_and_gradient_are_those_computed_by_hand(beta, nll):
    losses = torch.tensor(LOSSES, requires_grad=True)
    total, number, report = Preference(beta, nll)._loss(BATCH, losses)
    total.backward()
    expected, margins, gradient = by_hand(beta, nll)
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert int(number) == 2
    assert losses.grad[0, 1] == pytest.approx(gradient, rel=1e-5)
    assert losses.grad[0, 4] == pytest.approx(-(gradient - nll / 2), rel=1e-5)
    assert float(losses.grad[0, 0].abs() + losses.grad[:, 5].abs().sum()) == 0
    names = ("pairs", *Preference(beta).reports)
    found = dict(zip(names, report[REPORT].tolist(), strict=True))
    assert found["margin"] == pytest.approx(sum(margins))
    assert found["accuracy"] == sum(m > 0 for m in margins)


def test_training_widens_the_margin_and_starts_at_the_reference(trained):
    section = {
        "start_from": "pretrained_checkpoint",
        **SHORT,
        "epochs": 10,
        "precision": "fp32",
        "optimizer": {"lr": 2e-3, "weight_decay": 0},
    }
    spec = trained.spec("dpo_margin", "dpo", section)
    result = run_here(spec)
    rows = metrics_of(spec)
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert abs(rows[0]["margin"]) < 1e-4
    assert rows[-1]["margin"] > 0.5
    assert rows[-1]["accuracy"] > 0.9
    assert result.counts.kept == 40


def test_the_reference_is_computed_once_for_the_same_parent_and_pairs(trained, monkeypatch):
    section = {"start_from": "pretrained_checkpoint", **SHORT, "steps": 1, "beta": 0.1}
    run_here(trained.spec("dpo_first", "dpo", section))
    monkeypatch.setattr("factory.training.reference._evaluate", lambda *_: pytest.fail("computed again"))
    run_here(trained.spec("dpo_second", "dpo", section | {"beta": 0.4}))


def test_exposure_names_every_pair_once_an_epoch(trained):
    section = {"start_from": "pretrained_checkpoint", **SHORT, "epochs": 3}
    spec = trained.spec("dpo_exposure", "dpo", section)
    run_here(spec)
    rows = pq.read_table(Path(spec.folder) / "out" / "exposure").to_pylist()
    assert {row["asset"] for row in rows} == {"pivotal_pairs"}
    assert sorted(i for row in rows for i in row["items"]) == sorted(list(range(40)) * 3)
