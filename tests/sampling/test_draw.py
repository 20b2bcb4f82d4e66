import numpy as np
import pytest
import torch

from factory.sampling.api import SamplingSettings
from factory.sampling.draw import draw, keep_nucleus, pick, streams, uniforms

DRAWS = 40_000


def settings(**changes):
    return SamplingSettings(**({"temperature": 1.0, "max_new_tokens": 1, "stop": ()} | changes))


def frequencies(logits, chosen):
    keys = streams(11, np.arange(DRAWS), np.zeros(DRAWS, dtype=np.int64))
    tokens, log_probs = draw(logits.repeat(DRAWS, 1), chosen, uniforms(keys, np.zeros(DRAWS, dtype=np.int64)))
    return torch.bincount(tokens, minlength=logits.shape[-1]) / DRAWS, tokens, log_probs


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_tokens_come_as_often_as_their_chance_says(temperature):
    logits = torch.tensor([[0.3, 1.7, -0.4, 0.9, -2.0]])
    found, tokens, log_probs = frequencies(logits, settings(temperature=temperature))
    expected = (logits[0] / temperature).softmax(-1)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.01)
    assert torch.allclose(log_probs, expected.log()[tokens], atol=1e-5)


def test_top_p_draws_only_from_the_nucleus_and_reports_its_chances():
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.07, 0.03]]).log()
    found, tokens, log_probs = frequencies(logits, settings(top_p=0.8))
    assert found.tolist() == pytest.approx([0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0, 0], abs=0.01)
    assert log_probs[tokens == 2][0].exp().item() == pytest.approx(0.15 / 0.9, abs=1e-5)


def test_a_nucleus_smaller_than_the_likeliest_token_is_that_token():
    chances = torch.tensor([[0.2, 0.7, 0.1]])
    keep_nucleus(chances, 0.01)
    assert chances.tolist() == [[0, pytest.approx(0.7), 0]]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_forbidden_token_never_comes_though_it_be_the_likeliest(temperature):
    found, _, _ = frequencies(torch.tensor([[9.0, 0.0, 1.0]]), settings(temperature=temperature, forbidden=(0,)))
    assert found[0] == 0


def test_streams_are_reproducible_uniform_and_independent_of_each_other():
    keys = streams(3, np.repeat(np.arange(100), 50), np.tile(np.arange(50), 100))
    assert len(set(keys.tolist())) == 5000
    values = torch.stack([uniforms(keys, np.full(5000, step)) for step in range(20)])
    assert torch.equal(values[7], uniforms(keys, np.full(5000, 7)))
    assert 0 <= values.min() < 1e-3
    assert 0.999 < values.max() < 1
    assert torch.histc(values, 10, 0, 1).tolist() == pytest.approx([10_000] * 10, rel=0.05)
    assert torch.corrcoef(values).fill_diagonal_(0).abs().max() < 0.07


def test_the_largest_uniform_number_still_names_a_token_with_a_chance():
    logits = torch.tensor([[1.0, 2.0, float("-inf"), float("-inf")]])
    tokens, log_probs = draw(logits, settings(), torch.tensor([1 - 2**-24]))
    assert tokens.tolist() == [1]
    assert log_probs.isfinite().all()


def test_the_token_picked_is_the_one_whose_share_of_the_whole_holds_the_number():
    generator = torch.Generator().manual_seed(4)
    chances = torch.rand(2000, 77, generator=generator) * (torch.rand(2000, 77, generator=generator) < 0.3) + 1e-9 * torch.eye(77)[0]
    uniform = torch.rand(2000, generator=generator)
    tokens, total = pick(chances, uniform)
    cumulative = chances.double().cumsum(-1) / chances.double().sum(-1, keepdim=True)
    expected = torch.searchsorted(cumulative, uniform[:, None].double(), right=True)[:, 0]
    assert (tokens != expected).sum() <= 2, "but for rounding at the edges"
    assert (chances.gather(1, tokens[:, None]) > 0).all()
    assert torch.allclose(total, chances.sum(-1))


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_rounding_never_picks_a_token_without_a_chance(uniform):
    generator = torch.Generator().manual_seed(5)
    chances = torch.rand(5000, 64, generator=generator) * (torch.rand(5000, 64, generator=generator) < 0.1)
    chances[:, 40] += 1e-7
    tokens, _ = pick(chances, torch.full((5000,), uniform))
    assert (chances.gather(1, tokens[:, None]) > 0).all()
