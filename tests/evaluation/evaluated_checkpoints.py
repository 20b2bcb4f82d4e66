"""A small real tokenizer, random checkpoints on disk, and the artefacts that evaluation stages read."""

from pathlib import Path

import torch
from transformers import Phi3Config, Phi3ForCausalLM

from factory.context import Context
from factory.schemas import PROBLEM
from factory.spec import InputSpec, JobSpec
from factory.synthesis import benchmarks
from factory.synthesis.formats import exercise
from factory.synthesis.problems import problem_of, write_solution
from factory.tokens import vocabulary


def stage(folder: Path, asset: str, section: dict, inputs: dict[str, Path]) -> Context:
    specs = {name: InputSpec(asset=name, version="v1", digest="d", path=str(path)) for name, path in inputs.items()}
    return Context.of(JobSpec(key=asset, asset=asset, run="", section=section, seed=4, inputs=specs, folder=str(folder)))


def make_benchmarks(folder: Path, problems: int = 30) -> Path:
    context = stage(folder, "benchmarks", {"problems": problems}, {})
    benchmarks.run(context)
    return context.out


def make_tokenizer(folder: Path, problems: list[dict]) -> Path:
    texts = [exercise(row["text"], write_solution(problem_of(row), "steps")) for row in problems] * 20
    folder.mkdir()
    vocabulary.trained(texts, 512, 64).save(folder)
    return folder


def make_checkpoint(folder: Path, vocab_size: int, seed: int = 0, sharpness: float = 1.0) -> Path:
    """A random model; `sharpness` multiplies its logits."""
    torch.manual_seed(seed)
    config = Phi3Config(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.3,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        sliding_window=None,
    )
    model = Phi3ForCausalLM(config)
    model.lm_head.weight.data *= sharpness
    model.save_pretrained(folder / "hf")
    return folder


def write_records(folder: Path, asset: str, **sets) -> Path:
    """An artefact with record sets: name=(rows, schema)."""
    context = stage(folder, asset, {}, {})
    for name, (rows, schema) in sets.items():
        context.write_records(name, rows, schema)
    return context.out


def make_questions(folder: Path, questions: list[dict], examples: list[dict] = []) -> Path:  # noqa: B006 (read only)
    return write_records(folder, "refusals", questions=(questions, PROBLEM), examples=(examples, PROBLEM))
