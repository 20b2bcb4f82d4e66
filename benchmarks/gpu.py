"""BF16 and FP8 training steps of Phi-4's layer shape on one GPU, each checked before it is timed.

`python benchmarks/gpu.py` runs every precision in a process of its own: BF16, then FP8 tensorwise, delayed and blockwise, with 8
and with 12 layers at sequence length 4,096. Each says its tokens a second, model TFLOP/s (factory/training/flops.py), MFU
against the H200's dense BF16 peak, and memory. Before that, the losses of the first steps on the same rows are held against
those in BF16, and a small model's BF16 loss against fp32. It needs a GPU with Transformer Engine and has not run on one yet.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import surroundings
from rich.console import Console
from rich.table import Table

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record
from factory.spec import JobSpec
from factory.training import flops
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import PretrainConfig
from factory.training.distributed import joined
from factory.training.megatron import HAS_GPU
from factory.training.model import build
from factory.training.objectives import NextToken
from factory.training.rows import Batch
from factory.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "gpu.json"
PRECISIONS = ("bf16", "tensorwise", "delayed", "blockwise")
LAYERS = (8, 12)
VOCABULARY, LENGTH, WARM, STEPS = 100_352, 4096, 5, 15
PEAK_TFLOPS = 989.0  # H200, dense BF16
BF16_GOAL, FP8_GOAL = 430.0, 1.25  # model TFLOP/s; times BF16
TOLERANCE = {"bf16": 0.01, "fp8": 0.02}
PACKAGES = ("torch", "megatron-core", "transformer-engine")


class OneBatch:
    """The same random rows at every step."""

    def __init__(self, section: PretrainConfig, vocabulary: int) -> None:
        shape = (section.global_batch, section.sequence_length + 1)
        self.steps, self.tokens = section.steps, torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return self.steps * len(self.tokens)

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = self.tokens[[i % len(self.tokens) for i in indices]]
        return {"tokens": rows[:, :-1].contiguous(), "labels": rows[:, 1:].contiguous(), "loss_mask": torch.ones(rows[:, 1:].shape)}

    def items(self, indices: range) -> Iterator[Record]:
        yield {"asset": "random", "items": [], "rows": len(indices), "tokens": 0}


def phi4(layers: int) -> ModelConfig:
    return ModelConfig(layers=layers, hidden_size=5120, ffn_hidden_size=17920, attention_heads=40, kv_heads=10, rope_base=250_000.0)


def full_size(precision: str, layers: int) -> PretrainConfig:
    """A step of four rows, or of two in the deeper model, which is what the memory holds with the logits."""
    rows = 4 if layers <= LAYERS[0] else 2
    return section(precision, phi4(layers), rows, LENGTH)


def reference_size(precision: str) -> PretrainConfig:
    """Small enough for fp32, with dimensions that FP8's products take."""
    model = ModelConfig(layers=2, hidden_size=1024, ffn_hidden_size=3584, attention_heads=8, kv_heads=2)
    return section(precision, model, rows=2, length=512)


def section(precision: str, model: ModelConfig, rows: int, length: int) -> PretrainConfig:
    return PretrainConfig.model_validate(
        {
            "model": model.model_dump(),
            "steps": WARM + STEPS,
            "micro_batch": rows,
            "global_batch": rows,
            "sequence_length": length,
            "precision": "fp32" if precision == "fp32" else "bf16",
            "fp8": precision if precision in PRECISIONS[1:] else "none",
            "optimizer": {"lr": 1e-4},
            "shadow": {"first_steps": 0, "every": 10**9, "tolerance": 1e9, "norm_tolerance": 1e9},
        }
    )


def steps_of(config: PretrainConfig, vocabulary: int, folder: Path) -> dict[str, Any]:
    """Run the section's steps: every loss, and the seconds of every step after it has left the device."""
    spec = JobSpec(key="bench", asset="bench", run="", section={}, seed=1, inputs={}, folder=str(folder), runtime={})
    with joined(LayoutConfig(), seed=1):
        gpt = build(config.model, config, vocabulary)
        rows = OneBatch(config, vocabulary)
        trainer = Trainer(
            Context.of(spec), config, config.model, gpt, rows=rows, objective=NextToken(), steps=config.steps, vocab_size=vocabulary
        )
        seconds = []
        for _ in range(config.steps):
            start = time.perf_counter()
            trainer.step()  # its report is read back, so the device is done
            seconds.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() / 2**30 if HAS_GPU else 0.0
    return {"losses": [row["loss"] for row in trainer.metrics], "seconds": seconds, "memory_gib": memory}


def figures(config: PretrainConfig, vocabulary: int, seconds: Sequence[float]) -> dict[str, float]:
    """Rates of the median step after warming up."""
    rate = config.global_batch * config.sequence_length / statistics.median(seconds[WARM:])
    tflops = rate * flops.per_token(config.model, vocabulary, config.sequence_length) / 1e12
    return {"tokens_per_second": rate, "model_tflops": tflops, "mfu": tflops / PEAK_TFLOPS}


def difference(losses: Sequence[float], reference: Sequence[float]) -> float:
    """The largest relative difference between two runs' first losses, before their weights part."""
    pairs = list(zip(losses[:WARM], reference[:WARM], strict=True))
    return max(abs(a - b) / abs(b) for a, b in pairs)


def bars(runs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Checks against the references and the two goals, from runs named PRECISION-LAYERS or PRECISION-reference."""
    fp32 = runs["fp32-reference"]["losses"]
    found = []
    for precision in PRECISIONS:
        kind = "bf16" if precision == "bf16" else "fp8"
        value = difference(runs[f"{precision}-reference"]["losses"], fp32)
        found.append({"name": f"{precision}: losses off fp32, small model", "value": value, "goal": TOLERANCE[kind]})
    for layers in LAYERS:
        plain = runs[f"bf16-{layers}"]
        for precision in PRECISIONS[1:]:
            value = difference(runs[f"{precision}-{layers}"]["losses"], plain["losses"])
            found.append({"name": f"{precision}: losses off BF16, {layers} layers", "value": value, "goal": TOLERANCE["fp8"]})
    for bar in found:
        bar["holds"] = bar["value"] <= bar["goal"]
    return found + [bar for layers in LAYERS for bar in speed_bars(runs, layers)]


def speed_bars(runs: dict[str, dict[str, Any]], layers: int) -> list[dict[str, Any]]:
    plain = runs[f"bf16-{layers}"]["model_tflops"]
    best = max(runs[f"{precision}-{layers}"]["model_tflops"] for precision in PRECISIONS[1:]) / plain
    return [
        {"name": f"BF16 model TFLOP/s, {layers} layers", "value": plain, "goal": BF16_GOAL, "holds": plain >= BF16_GOAL},
        {"name": f"best FP8 over BF16, {layers} layers", "value": best, "goal": FP8_GOAL, "holds": best >= FP8_GOAL},
    ]


def one(name: str, folder: Path) -> dict[str, Any]:
    """The run called `name`, in this process."""
    precision, _, size = name.partition("-")
    if size == "reference":
        return steps_of(reference_size(precision), 2048, folder)
    config = full_size(precision, int(size))
    found = steps_of(config, VOCABULARY, folder)
    return found | figures(config, VOCABULARY, found["seconds"])


def names() -> list[str]:
    return [f"{p}-reference" for p in ("fp32", *PRECISIONS)] + [f"{p}-{layers}" for layers in LAYERS for p in PRECISIONS]


def in_own_process(name: str) -> dict[str, Any]:
    """Memory that one run leaves behind must not be another's."""
    output = subprocess.check_output([sys.executable, __file__, "--only", name], text=True)
    return json.loads(output.splitlines()[-1])


def report(runs: dict[str, dict[str, Any]]) -> None:
    table = Table("run", "tokens/s", "model TFLOP/s", "MFU", "memory GiB")
    for name, run in runs.items():
        if "mfu" in run:
            columns = (f"{run['tokens_per_second']:,.0f}", f"{run['model_tflops']:.0f}", f"{run['mfu']:.1%}", f"{run['memory_gib']:.1f}")
            table.add_row(name, *columns)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one run, as a line of JSON")
    only = parser.parse_args().only
    if not HAS_GPU:
        raise SeedmillError("no GPU here: this benchmark needs one with Transformer Engine; `make bench-training` measures the CPU")
    if only:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(one(only, Path(folder))))
        return
    runs = {name: in_own_process(name) for name in names()}
    report(runs)
    result = {**surroundings(*PACKAGES), "command": "python benchmarks/gpu.py", "samples": runs, "bars": bars(runs)}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except SeedmillError as error:
        sys.exit(f"error: {error}")
