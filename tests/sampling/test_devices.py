"""The local engine on another device than the host.

Where there is no GPU, torch's lazy device stands in for one: its tensors do not mix with the host's, nor turn into NumPy's.
"""

import functools
import inspect
import itertools
import random

import pytest
import torch
import torch._lazy.ts_backend

from factory.errors import SeedmillError
from factory.sampling.api import SampleRequest, SamplingSettings
from factory.sampling.config import LocalEngine
from factory.sampling.local import LocalSampler
from factory.sampling.model import Phi3

HAS_GPU = torch.cuda.is_available()


@pytest.fixture(scope="session")
def lazy():
    torch._lazy.ts_backend.init()
    return torch.device("lazy")


@pytest.fixture
def there(lazy, hf_folder, monkeypatch):
    """An engine on the lazy device, whose splits come back on the host; so here they are slices."""
    monkeypatch.setattr(torch.Tensor, "split", split)
    monkeypatch.setattr(torch.Tensor, "chunk", lambda whole, parts, dim: split(whole, [whole.shape[dim] // parts] * parts, dim))
    return LocalSampler(Phi3.load(hf_folder, torch.float32, lazy), slots=9)


@pytest.fixture
def here(hf_folder):
    return LocalSampler.load(hf_folder, LocalEngine(dtype="float32", slots=9))


def split(whole, sizes, dim):
    starts = itertools.accumulate(sizes, initial=0)
    return tuple(whole.narrow(dim, start, size) for start, size in zip(starts, sizes, strict=False))


def outside_inference_mode(method):
    """The lazy device knows no inference mode, so go round the decorator."""
    return torch.no_grad()(functools.partial(inspect.unwrap(method.__func__), method.__self__))


def flat(answers):
    return itertools.chain.from_iterable(answers)


def prompts(count):
    generator = random.Random(3)
    return [tuple(generator.randrange(5, 96) for _ in range(generator.randint(3, 30))) for _ in range(count)]


@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_another_device_draws_what_the_cpu_draws(there, here, top_p):
    settings = SamplingSettings(temperature=0.9, top_p=top_p, max_new_tokens=40, stop=(1, 2), forbidden=(0,))
    asked = [SampleRequest(prompt, count) for prompt, count in zip(prompts(6), (1, 4, 17, 2, 1, 9), strict=True)]
    assert there.model.head._weight.device.type == "lazy"
    found = outside_inference_mode(there.sample)(asked, settings, seed=5)
    for ours, expected in zip(flat(found), flat(here.sample(asked, settings, seed=5)), strict=True):
        assert ours.tokens == expected.tokens
        assert ours.log_probs == pytest.approx(expected.log_probs, abs=1e-4)


def test_another_device_scores_as_the_cpu_does(there, here):
    for ours, expected in zip(outside_inference_mode(there.log_probs)(prompts(5)), here.log_probs(prompts(5)), strict=True):
        assert ours == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_one_clear_error(hf_folder):
    with pytest.raises(SeedmillError, match=r"sampling\.device is gpu, but torch sees no GPU here"):
        LocalSampler.load(hf_folder, LocalEngine(device="gpu"))


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_greedy_answers_of_a_gpu_are_those_of_the_cpu(hf_folder, here):
    asked, greedy = [SampleRequest(prompt) for prompt in prompts(9)], SamplingSettings(temperature=0, max_new_tokens=20, stop=(1,))
    found = LocalSampler.load(hf_folder, LocalEngine(dtype="float32", device="gpu")).sample(asked, greedy, seed=5)
    assert [c.tokens for c in flat(found)] == [c.tokens for c in flat(here.sample(asked, greedy, seed=5))]
