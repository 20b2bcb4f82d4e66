"""Tokens a second of one training step, in one process: the trainer beside `transformers` and a plain PyTorch loop.

The laptop recipe's own model and step (16 rows of 128 tokens), the same weights' shapes, fused AdamW, gradient clipping and
precision in all three; in bf16 each keeps fp32 main parameters. Steps are interleaved: a step of one, then of the next, so that
whatever else the machine does falls on all alike. One thread each. Ratios are of medians of CPU time a step, which other
programs on the machine disturb least; wall times are in the samples. Run as `make bench-training`.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F  # noqa: N812
from machine import surroundings
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import Phi3Config, Phi3ForCausalLM

from factory.context import Context
from factory.records import Record
from factory.spec import JobSpec
from factory.training.architecture import LayoutConfig
from factory.training.config import PretrainConfig
from factory.training.distributed import joined
from factory.training.model import build
from factory.training.objectives import NextToken
from factory.training.rows import Batch
from factory.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "training.json"
VOCABULARY, WARM, STEPS = 1024, 4, 40
FLOOR, GOAL = 0.97, 1.3
PACKAGES = ("torch", "transformers", "megatron-core")
Step = Callable[[int], None]
Samples = dict[str, list[dict[str, float]]]


class RandomRows:
    """Rows of random tokens, the same for every contestant."""

    def __init__(self, section: PretrainConfig) -> None:
        shape = (section.global_batch, section.sequence_length + 1)
        self.tokens = torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return (WARM + STEPS) * len(self.tokens)

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = self.tokens[[i % len(self.tokens) for i in indices]]
        return {"tokens": rows[:, :-1].contiguous(), "labels": rows[:, 1:].contiguous(), "loss_mask": torch.ones(rows[:, 1:].shape)}

    def items(self, indices: range) -> Iterator[Record]:
        yield {"asset": "random", "items": [], "rows": len(indices), "tokens": 0}


class Attention(nn.Module):
    """Grouped-query attention with rotary positions and torch's fused attention."""

    def __init__(self, section: PretrainConfig) -> None:
        super().__init__()
        model = self.shape = section.model
        kv = model.kv_heads * model.head_size
        self.split = [model.hidden_size, kv, kv]
        self.qkv = nn.Linear(model.hidden_size, sum(self.split), bias=False)
        self.out = nn.Linear(model.hidden_size, model.hidden_size, bias=False)
        angles = torch.outer(
            torch.arange(section.sequence_length), model.rope_base ** -(torch.arange(0, model.head_size, 2) / model.head_size)
        )
        self.register_buffer("cos", torch.cat([angles, angles], dim=-1).cos())
        self.register_buffer("sin", torch.cat([angles, angles], dim=-1).sin())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [t.unflatten(-1, (-1, self.shape.head_size)).transpose(1, 2) for t in self.qkv(x).split(self.split, dim=-1)]
        q, k = (t * self.cos + torch.cat([-t.chunk(2, dim=-1)[1], t.chunk(2, dim=-1)[0]], dim=-1) * self.sin for t in parts[:2])
        mixed = F.scaled_dot_product_attention(q, k, parts[2], is_causal=True, enable_gqa=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block with SwiGLU."""

    def __init__(self, section: PretrainConfig) -> None:
        super().__init__()
        hidden, wide = section.model.hidden_size, section.model.ffn_hidden_size
        self.norms = nn.ModuleList(nn.RMSNorm(hidden, eps=section.model.norm_epsilon) for _ in range(2))
        self.attention = Attention(section)
        self.up, self.down = nn.Linear(hidden, 2 * wide, bias=False), nn.Linear(wide, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norms[0](x))
        gate, up = self.up(self.norms[1](x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Plain(nn.Module):
    """The same decoder in a hundred lines of PyTorch."""

    def __init__(self, section: PretrainConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, section.model.hidden_size)
        self.blocks = nn.Sequential(*(Block(section) for _ in range(section.model.layers)))
        self.norm = nn.RMSNorm(section.model.hidden_size, eps=section.model.norm_epsilon)
        self.head = nn.Linear(section.model.hidden_size, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.embedding(tokens))))


class Loop:
    """A plain training loop: gradients of bf16 weights go to fp32 main parameters, as the trainer's do."""

    def __init__(self, model: nn.Module, section: PretrainConfig, loss: Callable[[Batch], torch.Tensor]) -> None:
        self.loss, self.clip, self.batch = loss, section.optimizer.clip, RandomRows(section).batch(range(section.global_batch))
        self.weights = list(model.parameters())
        self.mains = [w.detach().float().requires_grad_() for w in self.weights] if section.precision == "bf16" else self.weights
        settings = section.optimizer
        self.optimizer = torch.optim.AdamW(
            self.mains, settings.lr, (settings.beta1, settings.beta2), settings.epsilon, settings.weight_decay, fused=True
        )

    def __call__(self, _: int) -> None:
        for weight in self.weights:
            weight.grad = None
        self.loss(self.batch).backward()
        if self.mains is not self.weights:
            for main, weight in zip(self.mains, self.weights, strict=True):
                main.grad = None if weight.grad is None else weight.grad.float()
        nn.utils.clip_grad_norm_(self.mains, self.clip)
        self.optimizer.step()
        if self.mains is not self.weights:
            torch._foreach_copy_([w.data for w in self.weights], self.mains)


def transformers_step(section: PretrainConfig) -> Step:
    shape = section.model
    config = Phi3Config(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.ffn_hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.attention_heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=section.sequence_length,
        attn_implementation="sdpa",
        pad_token_id=0,
        use_cache=False,
    )
    model = Phi3ForCausalLM(config).to(dtype(section)).train()
    return Loop(model, section, lambda batch: model(input_ids=batch["tokens"], labels=batch["labels"], shift_labels=batch["labels"]).loss)


def plain_step(section: PretrainConfig) -> Step:
    model = Plain(section).to(dtype(section))
    return Loop(model, section, lambda batch: F.cross_entropy(model(batch["tokens"]).flatten(0, 1).float(), batch["labels"].flatten()))


def our_step(section: PretrainConfig, folder: Path) -> Step:
    spec = JobSpec(key="bench", asset="bench", run="", section={}, seed=1, inputs={}, folder=str(folder), runtime={})
    trainer = Trainer(
        Context.of(spec),
        section,
        section.model,
        build(section.model, section, VOCABULARY),
        rows=RandomRows(section),
        objective=NextToken(),
        steps=WARM + STEPS,
        vocab_size=VOCABULARY,
    )
    return lambda _: trainer.step() and None


def dtype(section: PretrainConfig) -> torch.dtype:
    return torch.bfloat16 if section.precision == "bf16" else torch.float32


def measure(step: Step, number: int, tokens: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    step(number)
    cpu_seconds = time.process_time() - cpu
    return {"cpu_seconds": cpu_seconds, "wall_seconds": time.perf_counter() - wall, "tokens_per_cpu_second": tokens / cpu_seconds}


def compare(precision: str, folder: Path) -> Samples:
    section = PretrainConfig.model_validate({"precision": precision, "steps": WARM + STEPS})
    torch.manual_seed(1)
    with joined(LayoutConfig(), seed=1):
        contestants = {
            "seedmill": our_step(section, folder),
            "transformers": transformers_step(section),
            "plain PyTorch": plain_step(section),
        }
        samples: Samples = {name: [] for name in contestants}
        for number in range(WARM + STEPS):
            for name, step in contestants.items():
                found = measure(step, number, section.global_batch * section.sequence_length)
                if number >= WARM:
                    samples[name].append(found)
    return samples


def report(samples: dict[str, Samples]) -> list[dict[str, Any]]:
    table = Table("precision", "contestant", "median tokens/CPU-s", "lowest", "highest", "seedmill over it")
    bars: list[dict[str, Any]] = []
    for precision, contestants in samples.items():
        rates = {name: [s["tokens_per_cpu_second"] for s in found] for name, found in contestants.items()}
        ours = statistics.median(rates["seedmill"])
        for name, values in rates.items():
            ratio = ours / statistics.median(values)
            numbers = (f"{number:,.0f}" for number in (statistics.median(values), min(values), max(values)))
            table.add_row(precision, name, *numbers, f"{ratio:.2f}")
            if name != "seedmill":
                goals = (FLOOR, GOAL) if (precision, name) == ("bf16", "transformers") else (FLOOR,)
                bars += [{"name": f"tokens/s over {name}, {precision}", "value": ratio, "goal": g, "holds": ratio >= g} for g in goals]
    Console().print(table)
    return bars


def main() -> None:
    torch.set_num_threads(1)
    around = surroundings(*PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        samples = {precision: compare(precision, Path(folder)) for precision in ("bf16", "fp32")}
    result = {**around, "command": "make bench-training", "samples": samples, "bars": report(samples)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
