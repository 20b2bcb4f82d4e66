import json
import random
import shutil

import pytest
import torch

from factory.errors import SeedmillError
from factory.sampling.api import SampleRequest, SamplingSettings
from factory.sampling.config import LocalEngine
from factory.sampling.local import LocalSampler

GREEDY = SamplingSettings(temperature=0, max_new_tokens=20, stop=(1,))
SAMPLED = SamplingSettings(temperature=1.0, max_new_tokens=20, stop=(1, 2, 3, 4), forbidden=(0,))


def opened(folder, **engine):
    return LocalSampler.load(folder, LocalEngine(**{"dtype": "float32"} | engine))


def prompts(count, seed=0, shortest=3, longest=30):
    generator = random.Random(seed)
    return [tuple(generator.randrange(5, 96) for _ in range(generator.randint(shortest, longest))) for _ in range(count)]


def full_log_probs(reference, tokens, temperature=1.0):
    with torch.no_grad():
        return (reference(torch.tensor([tokens])).logits[0] / temperature).log_softmax(-1)


@pytest.fixture
def sampler(hf_folder):
    return opened(hf_folder, slots=7)


def test_greedy_tokens_are_the_argmax_of_full_forward_passes(sampler, reference):
    asked = [SampleRequest(prompt, 2) for prompt in prompts(12)]
    for request, completions in zip(asked, sampler.sample(asked, GREEDY, seed=1), strict=True):
        tokens = list(request.prompt)
        while len(tokens) < len(request.prompt) + 20 and (len(tokens) == len(request.prompt) or tokens[-1] != 1):
            tokens.append(int(full_log_probs(reference, tokens)[-1].argmax()))
        assert [c.tokens for c in completions] == [tuple(tokens[len(request.prompt) :])] * 2


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_log_probabilities_of_samples_equal_those_of_a_full_forward_pass(sampler, reference, temperature):
    settings = SamplingSettings(temperature=temperature, max_new_tokens=20, stop=(1,))
    prompt = prompts(1)[0]
    for completion in sampler.sample([SampleRequest(prompt, 9)], settings, seed=3)[0]:
        full = full_log_probs(reference, [*prompt, *completion.tokens], temperature)
        expected = [full[len(prompt) - 1 + i, token].item() for i, token in enumerate(completion.tokens)]
        assert completion.log_probs == pytest.approx(expected, abs=1e-4)


def test_scoring_given_sequences_agrees_with_a_full_forward_pass(sampler, reference):
    sequences = prompts(9, seed=4)
    for sequence, found in zip(sequences, sampler.log_probs(sequences, temperature=0.7), strict=True):
        full = full_log_probs(reference, sequence, 0.7)
        assert found == pytest.approx([full[i, token].item() for i, token in enumerate(sequence[1:])], abs=1e-4)


def test_a_completion_ends_with_a_stop_token_or_at_its_limit(sampler):
    completions = [c for found in sampler.sample([SampleRequest(p, 20) for p in prompts(6)], SAMPLED, seed=2) for c in found]
    assert {c.stopped for c in completions} == {True, False}
    for completion in completions:
        assert completion.stopped == (completion.tokens[-1] in SAMPLED.stop)
        assert completion.stopped or len(completion.tokens) == SAMPLED.max_new_tokens
        assert not set(completion.tokens[:-1]) & {0, *SAMPLED.stop}


def test_each_distinct_prompt_is_prefilled_once_however_many_samples_continue_it(sampler):
    first, second = prompts(2)
    found = sampler.sample([SampleRequest(first, 11), SampleRequest(second, 1), SampleRequest(first, 3)], SAMPLED, seed=2)
    assert [len(completions) for completions in found] == [11, 1, 3]
    assert sampler.usage.prefill_tokens == len(first) + len(second)
    assert sampler.usage.decode_tokens == sum(len(c.tokens) for completions in found for c in completions)


def test_a_prompt_that_begins_another_costs_nothing_and_answers_as_it_would_alone(hf_folder, sampler):
    long = prompts(1, shortest=30)[0]
    asked = [SampleRequest(long[:length], count) for length, count in ((7, 3), (30, 9), (18, 1), (29, 5))]
    together = sampler.sample(asked, GREEDY, seed=2)
    assert sampler.usage.prefill_tokens == 30
    for request, completions in zip(asked, together, strict=True):
        alone = opened(hf_folder).sample([SampleRequest(request.prompt)], GREEDY, seed=2)[0]
        assert {c.tokens for c in completions} == {alone[0].tokens}


@pytest.mark.parametrize("slots", [3, 40])
def test_log_probabilities_stay_right_while_slots_groups_and_columns_are_used_again(hf_folder, reference, slots):
    asked = [SampleRequest(prompt, count) for prompt, count in zip(prompts(14, seed=6), (1, 2, 9, 30, 1, 1, 17) * 2, strict=True)]
    settings = SamplingSettings(temperature=1.0, max_new_tokens=70, stop=(1, 2))
    for request, completions in zip(asked, opened(hf_folder, slots=slots).sample(asked, settings, 4), strict=True):
        completion = max(completions, key=lambda completion: len(completion.tokens))
        full = full_log_probs(reference, [*request.prompt, *completion.tokens])
        expected = [full[len(request.prompt) - 1 + i, token].item() for i, token in enumerate(completion.tokens)]
        assert completion.log_probs == pytest.approx(expected, abs=2e-4)


def test_one_seed_gives_one_answer_and_another_seed_another(sampler):
    asked = [SampleRequest(prompt, 3) for prompt in prompts(5)]
    first, again, other = (sampler.sample(asked, SAMPLED, seed) for seed in (8, 8, 9))
    assert first == again
    assert first != other


def test_samples_do_not_depend_on_the_number_of_slots(hf_folder):
    asked = [SampleRequest(prompt, 3) for prompt in prompts(9)]
    few, many = (opened(hf_folder, slots=slots).sample(asked, SAMPLED, 5) for slots in (2, 64))
    assert [[c.tokens for c in found] for found in few] == [[c.tokens for c in found] for found in many]


def test_bfloat16_stays_near_float32(hf_folder):
    sequences = prompts(6)
    exact, rough = (opened(hf_folder, dtype=dtype).log_probs(sequences) for dtype in ("float32", "bfloat16"))
    gaps = [abs(a - b) for left, right in zip(exact, rough, strict=True) for a, b in zip(left, right, strict=True)]
    assert 0 < max(gaps) < 0.6
    assert sum(gaps) / len(gaps) < 0.1


def test_nothing_asked_is_nothing_answered(sampler):
    assert sampler.sample([], GREEDY, 0) == []
    assert sampler.sample([SampleRequest((5, 6), 0)], GREEDY, 0) == [[]]


@pytest.mark.parametrize(("prompt", "words"), [((), "no token"), ((5,) * 250, "256 positions")])
def test_a_prompt_that_cannot_run_is_refused(sampler, prompt, words):
    with pytest.raises(SeedmillError, match=words):
        sampler.sample([SampleRequest(prompt)], GREEDY, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"sliding_window": 64}, "sliding_window"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
    ],
)
def test_a_model_that_would_come_out_wrong_is_refused(hf_folder, tmp_path, change, words):
    folder = shutil.copytree(hf_folder, tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(SeedmillError, match=words):
        opened(folder)
