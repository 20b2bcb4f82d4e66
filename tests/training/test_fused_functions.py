"""The functions with their own backward passes give what torch's give, and so do their gradients."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from factory.training import fused
from factory.training.cross_entropy import cross_entropy

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def with_gradients(function, inputs, by_output):
    leaves = [value.clone().requires_grad_() for value in inputs]
    output = function(*leaves)
    output.backward(by_output)
    return [output.detach(), *(leaf.grad for leaf in leaves)]


def assert_same(ours, reference, inputs, by_output):
    dtype = inputs[0].dtype
    for value, expected in zip(with_gradients(ours, inputs, by_output), with_gradients(reference, inputs, by_output), strict=True):
        assert value.dtype == expected.dtype
        torch.testing.assert_close(value, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def random(request):
    generator = torch.Generator().manual_seed(7)
    return lambda *shape: torch.randn(shape, generator=generator).to(request.param)


def test_rms_norm(random):
    assert_same(
        lambda x, w: fused.rms_norm(x, w, 1e-5),
        lambda x, w: F.rms_norm(x, w.shape, w, 1e-5),
        (random(6, 3, 48), random(48)),
        random(6, 3, 48),
    )


def test_a_linear_layer_of_which_the_gradient_is_a_view(random):
    assert_same(fused.linear, F.linear, (random(40, 3, 48), random(96, 48)), random(3, 40, 96).transpose(0, 1))


def test_rotary_positions(random):
    freqs = torch.outer(torch.arange(10.0), torch.tensor([1.0, 0.3, 0.1, 0.03])).repeat(1, 2)[:, None, None]

    def reference(t):
        first, second = t.chunk(2, dim=-1)
        return t * freqs.cos().to(t.dtype) + torch.cat((-second, first), dim=-1) * freqs.sin().to(t.dtype)

    assert_same(lambda t: fused.rotate(t, freqs), reference, (random(10, 3, 4, 8),), random(10, 3, 4, 8))


def test_cross_entropy_of_more_rows_than_a_slice_holds(random):
    labels = torch.arange(600).view(3, 200) % 50

    def reference(logits):
        return F.cross_entropy(logits.float().permute(1, 2, 0), labels, reduction="none")

    by_losses = torch.linspace(-1, 2, 600).view(3, 200)
    assert_same(lambda logits: cross_entropy(labels, logits), reference, (random(200, 3, 50) * 4,), by_losses)


def test_cross_entropy_of_a_label_whose_probability_underflows():
    logits = torch.tensor([[[0.0, 300.0, -300.0]]])
    assert cross_entropy(torch.tensor([[2]]), logits).item() == 600.0
