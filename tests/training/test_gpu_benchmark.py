"""What of the GPU benchmark can be held to account without a GPU: its sections, its figures, its bars."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from factory.training.config import PretrainConfig

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gpu")


def runs_of(gpu, *, fp8=600.0, stray=0.0):
    """Made-up runs: BF16 at 450 TFLOP/s, FP8 at `fp8`, its losses off by `stray`."""
    runs = {}
    for name in gpu.names():
        plain = name.startswith(("bf16", "fp32"))
        losses = [11.5 * (1 + (0 if plain else stray))] * (gpu.WARM + gpu.STEPS)
        runs[name] = {"losses": losses, "model_tflops": 450.0 if plain else fp8}
    return runs


def test_every_section_is_valid_and_shaped_like_phi4(gpu):
    for precision in gpu.PRECISIONS:
        for layers in gpu.LAYERS:
            config = gpu.full_size(precision, layers)
            assert (config.fp8 != "none") == (precision != "bf16")
            assert (config.model.hidden_size, config.sequence_length, config.model.layers) == (5120, 4096, layers)
        small = gpu.reference_size(precision).model
        assert small.hidden_size % 16 == small.ffn_hidden_size % 16 == 0
    assert gpu.reference_size("fp32").precision == "fp32"


def test_rates_follow_from_the_median_step(gpu):
    config = gpu.full_size("bf16", 8)
    seconds = [9.0] * gpu.WARM + [0.5] * 8 + [0.7] * 7
    found = gpu.figures(config, gpu.VOCABULARY, seconds)
    assert found["tokens_per_second"] == 4 * 4096 / 0.5
    assert found["model_tflops"] == pytest.approx(4 * 4096 / 0.5 * 20.4e9 / 1e12, rel=0.01)
    assert found["mfu"] == pytest.approx(found["model_tflops"] / 989)


def test_bars_hold_for_good_runs_and_fail_for_slow_or_straying_fp8(gpu):
    assert all(bar["holds"] for bar in gpu.bars(runs_of(gpu)))
    slow = [bar["name"] for bar in gpu.bars(runs_of(gpu, fp8=500.0)) if not bar["holds"]]
    assert slow == ["best FP8 over BF16, 8 layers", "best FP8 over BF16, 12 layers"]
    stray = [bar["name"] for bar in gpu.bars(runs_of(gpu, stray=0.05)) if not bar["holds"]]
    assert len(stray) == 3 + 3 * 2
    assert all("losses off" in name for name in stray)


def test_its_steps_run_here_on_a_tiny_model(gpu, tmp_path):
    model = {"layers": 2, "hidden_size": 32, "ffn_hidden_size": 48, "attention_heads": 4, "kv_heads": 2}
    config = PretrainConfig.model_validate({"model": model, "steps": 3, "micro_batch": 2, "global_batch": 2, "sequence_length": 16})
    found = gpu.steps_of(config, 64, tmp_path)
    assert len(found["losses"]) == len(found["seconds"]) == 3
    assert found["losses"][2] < found["losses"][0]


def test_without_a_gpu_it_says_so(gpu):
    if gpu.HAS_GPU:
        pytest.skip("there is a GPU here")
    found = subprocess.run([sys.executable, str(FOLDER / "gpu.py")], check=False, capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stderr.endswith("`make bench-training` measures the CPU\n")
