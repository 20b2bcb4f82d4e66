"""Decoded tokens a CPU-second: the local engine beside `transformers.generate`, on the same weights and the same prompts.

256 sequences, 16 samples of each of 16 prompts, sampled at temperature 1 from a random model of the laptop recipe's shape,
each until a stop token or 96 tokens. Rounds alternate between the engines. Only tokens up to and including the stop token
count. Run as `python benchmarks/sampling.py`; the numbers go to benchmarks/results/sampling.json.
"""

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from machine import surroundings
from rich.console import Console
from rich.table import Table
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM

from factory.sampling.api import SampleRequest, SamplingSettings
from factory.sampling.config import LocalEngine
from factory.sampling.local import LocalSampler

RESULTS = Path(__file__).parent / "results" / "sampling.json"
PROMPTS, SAMPLES, NEW_TOKENS, ROUNDS = 16, 16, 96, 5
VOCABULARY, PAD = 1024, 0
STOP = tuple(range(1, 11))
GOAL = 4.0


def random_model(folder: Path) -> None:
    torch.manual_seed(7)
    config = Phi3Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        pad_token_id=PAD,
        eos_token_id=STOP[0],
        bos_token_id=None,
        sliding_window=None,
    )
    Phi3ForCausalLM(config).save_pretrained(folder)


def make_prompts() -> list[tuple[int, ...]]:
    generator = random.Random(7)
    return [tuple(generator.randrange(len(STOP) + 1, VOCABULARY) for _ in range(generator.randint(40, 70))) for _ in range(PROMPTS)]


def ours(sampler: LocalSampler, prompts: list[tuple[int, ...]]) -> Callable[[int], int]:
    settings = SamplingSettings(temperature=1.0, max_new_tokens=NEW_TOKENS, stop=STOP, forbidden=(PAD,))
    requests = [SampleRequest(prompt, SAMPLES) for prompt in prompts]

    def run(seed: int) -> int:
        return sum(len(c.tokens) for found in sampler.sample(requests, settings, seed) for c in found)

    return run


def theirs(model: Phi3ForCausalLM, prompts: list[tuple[int, ...]]) -> Callable[[int], int]:
    width = max(map(len, prompts))
    rows = [(PAD,) * (width - len(prompt)) + prompt for prompt in prompts for _ in range(SAMPLES)]
    tokens = torch.tensor(rows)
    config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=NEW_TOKENS, pad_token_id=PAD, eos_token_id=list(STOP),
        suppress_tokens=[PAD],
    )  # fmt: skip

    def run(seed: int) -> int:
        torch.manual_seed(seed)
        found = model.generate(tokens, attention_mask=(tokens != PAD).long(), generation_config=config)
        return int((found[:, width:] != PAD).sum())

    return run


def measure(run: Callable[[int], int], seed: int) -> dict[str, float]:
    start, wall = time.process_time(), time.perf_counter()
    tokens = run(seed)
    cpu = time.process_time() - start
    return {"tokens": tokens, "cpu_seconds": cpu, "wall_seconds": time.perf_counter() - wall, "tokens_per_cpu_second": tokens / cpu}


def compare(folder: Path, dtype: str) -> dict[str, list[dict[str, float]]]:
    engines = {
        "seedmill": ours(LocalSampler.load(folder, LocalEngine(dtype=dtype)), make_prompts()),
        "transformers": theirs(Phi3ForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval(), make_prompts()),
    }
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    for engine in engines.values():
        engine(0)
    for seed in range(1, ROUNDS + 1):
        for name, engine in engines.items():
            samples[name].append(measure(engine, seed))
    return samples


def report(samples: dict[str, dict[str, list[dict[str, float]]]]) -> list[dict[str, object]]:
    table = Table("type", "engine", "median tokens/CPU-s", "lowest", "highest", "ratio of medians")
    bars: list[dict[str, object]] = []
    for dtype, engines in samples.items():
        rates = {name: [round_["tokens_per_cpu_second"] for round_ in rounds] for name, rounds in engines.items()}
        ratio = statistics.median(rates["seedmill"]) / statistics.median(rates["transformers"])
        bars.append({"name": f"decoded tokens/s over transformers.generate, {dtype}", "value": ratio, "goal": GOAL, "holds": ratio >= GOAL})
        for name, values in rates.items():
            numbers = (f"{number:,.0f}" for number in (statistics.median(values), min(values), max(values)))
            table.add_row(dtype, name, *numbers, f"{ratio:.2f}" if name == "seedmill" else "")
    Console().print(table)
    return bars


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        random_model(Path(folder))
        samples = {dtype: compare(Path(folder), dtype) for dtype in ("bfloat16", "float32")}
    result = {
        **surroundings("torch", "transformers", "numpy"),
        "samples": samples,
        "bars": report(samples),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
