"""Rates say what the run does: live in its messages, and in the figures of the artefact; not in what its digest is taken of."""

import json
from pathlib import Path

import pytest
import torch
from training_worlds import MODEL, SHORT, metrics_of, run_here

from factory.training import rates


def messages_of(spec):
    return [json.loads(line) for line in (Path(spec.folder) / "messages.jsonl").read_text().splitlines()]


def test_a_run_tells_its_rates_while_it_runs_and_at_its_end(world):
    spec = world.spec("pretrained_checkpoint", "pretrain", {"model": MODEL, "steps": 130, **SHORT, "checkpoint_every": 100})
    metrics = run_here(spec).metrics
    told = [message for message in messages_of(spec) if message["kind"] == "progress"]
    assert told[-1]["done"] == 130
    for row in told[1:]:
        assert row["tokens_per_second"] > 0
        assert {"loss", "lr", "grad_norm", "model_tflops_per_second", "memory_gib"} < set(row)
        assert "mfu" not in row, "a CPU has no published peak"
    steps = [step for step, _ in metrics["speed"]]
    assert steps == list(range(3, 130, 3))
    assert metrics["tokens_per_second"] > 0
    assert not {"tokens_per_second", "memory_gib"} & set(metrics_of(spec)[0])


def test_utilisation_is_model_flops_over_the_peaks_of_all_ranks(monkeypatch):
    monkeypatch.setattr(rates, "HAS_GPU", True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    found = rates.Rates(90e9, ranks=8, steps=100).of(44_000.0)
    assert found["model_tflops_per_second"] == pytest.approx(3960.0)
    assert found["mfu"] == pytest.approx(3960 / (8 * 989.4), abs=1e-4)
    assert found["memory_gib"] == 3.0
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some other GPU")
    assert "mfu" not in rates.Rates(90e9, ranks=8, steps=100).of(44_000.0)
