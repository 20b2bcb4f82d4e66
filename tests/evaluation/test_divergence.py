"""The divergence from the model that preference training began with: against its exact value, and in the stage."""

import json

import evaluated_checkpoints as made
import pytest
import torch
from transformers import Phi3ForCausalLM

from factory.errors import SeedmillError
from factory.evaluation import checkpoint as evaluation
from factory.evaluation.candidate import Candidate
from factory.evaluation.divergence import divergence
from factory.sampling.config import LocalEngine
from factory.sampling.local import LocalSampler


@pytest.fixture(scope="module")
def other(tokenizer, tmp_path_factory):
    return made.make_checkpoint(tmp_path_factory.mktemp("other"), tokenizer.vocab_size, seed=1)


def candidate(folder, tokenizer) -> Candidate:
    return Candidate(folder.name, LocalSampler.load(folder / "hf", LocalEngine(dtype="float32")), tokenizer)


def exact(folders, tokenizer, prompt: tuple[int, ...]) -> float:
    """The estimate's expectation for the next token; it is the KL but for the mass of what may not be drawn."""
    allowed = torch.ones(tokenizer.vocab_size, dtype=torch.bool)
    allowed[[tokenizer.pad, *tokenizer.unused]] = False
    models = [Phi3ForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32) for folder in folders]
    with torch.inference_mode():
        own, reference = (model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1) for model in models)
    drawn = own.masked_fill(~allowed, float("-inf")).softmax(-1)
    return float((drawn * (torch.expm1(reference - own) + own - reference)).sum())


def test_the_estimate_is_the_exact_divergence_within_its_error(checkpoint, other, tokenizer):
    ours, theirs = candidate(checkpoint, tokenizer), candidate(other, tokenizer)
    prompt = ours.prompt("How many?", "chat")
    found = divergence(ours, theirs, [prompt] * 600, max_new_tokens=1, seed=3)
    assert found["answers"] == 600
    assert abs(found["per_answer"] - exact((checkpoint, other), tokenizer, prompt)) < 4 * found["standard_error"]
    assert found["per_token"] == pytest.approx(found["per_answer"])


def test_a_model_does_not_diverge_from_itself_and_one_answer_is_too_few(checkpoint, tokenizer):
    same = candidate(checkpoint, tokenizer)
    prompts = [same.prompt(text, "chat") for text in ("One?", "Two, three?")]
    assert divergence(same, same, prompts, max_new_tokens=8, seed=3)["per_answer"] == 0
    with pytest.raises(SeedmillError, match="two problems or more, not 1"):
        divergence(same, same, prompts[:1], max_new_tokens=8, seed=3)


def test_an_aligned_checkpoint_s_scores_hold_its_divergence(tmp_path, checkpoint, other, tokenizer_folder, held_out):
    inputs = {"tokenizer": tokenizer_folder, "sft_checkpoint": checkpoint, "pivotal_dpo_checkpoint": other, "benchmarks": held_out}
    section = {"checkpoint": "pivotal_dpo_checkpoint", "reference": "sft_checkpoint", "max_new_tokens": 8}
    context = made.stage(tmp_path, "evaluation/pivotal_dpo_checkpoint", section, inputs)
    evaluation.run(context)
    scores = json.loads((context.out / "scores.json").read_text())
    assert scores["divergence"]["reference"] == "sft_checkpoint@v1"
    assert context.metrics["divergence"] == scores["divergence"]["per_answer"] > 0
    assert context.metrics["divergence_per_token"] == pytest.approx(scores["divergence"]["per_token"])
