"""RMSNorm, rotary positions and linear layers with backward passes of their own, for training without Transformer Engine.

Torch differentiates the first two operation by operation, each over memory anew; and Megatron's sequence-first layout leaves heads
so far apart that attention misses the cache. Written as one function each, they take two thirds of the time, in fp32 and in bf16.
Torch multiplies fp32 matrices with MKL, to which other makers' processors than Intel's are generic ones: oneDNN, which torch carries
too, took half the time on an AMD EPYC, at the same precision. In bf16 torch uses it already.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        width, normed = x.shape[-1], x * inverse
        by_weight = (grads[0] * normed).reshape(-1, width)
        mean = torch.mv(by_weight, weight.float()).view_as(inverse).div_(width)
        by_x = (grads[0].float() * weight).addcmul_(normed, mean, value=-1).mul_(inverse)
        return by_x.to(x.dtype), by_weight.sum(0).to(weight.dtype), None


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Divide `x` by the root of mean(x²) + `epsilon` over its last axis and scale it by `weight`: in fp32, returned in x's type."""
    return _RMSNorm.apply(x, weight, epsilon)


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        length, rows, heads, channels = t.shape
        by_head = t.new_empty(rows, heads, length, channels).permute(2, 0, 1, 3)
        return _turned(t, cos, sin, by_head)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], cos, -sin, grads[0].new_empty(grads[0].shape)), None, None


def _turned(t: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    first, second = t.chunk(2, dim=-1)
    return torch.mul(t, cos, out=out).addcmul_(torch.cat((second, first), dim=-1), sin)


def rotate(t: torch.Tensor, freqs: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Rotary positions: whole heads [length, rows, heads, channels], two halves each, turned by `freqs` [length, 1, 1, channels].

    The result has the same shape, but each head's positions lie side by side in memory, as attention reads them.
    """
    half = freqs.shape[-1] // 2
    sin = freqs.sin().to(t.dtype)
    return _Rotation.apply(t, freqs.cos().to(t.dtype), torch.cat((-sin[..., :half], sin[..., half:]), dim=-1))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        x, weight = ctx.saved_tensors
        by_x = _product(grads[0], weight.t()) if ctx.needs_input_grad[0] else None
        rows, by_rows = x.flatten(0, -2), grads[0].flatten(0, -2)
        return by_x, _product(by_rows.t(), rows.t()) if ctx.needs_input_grad[1] else None


def _product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`x` [..., in] times the transpose of `weight` [out, in]."""
    if x.dtype is torch.float32 and torch.backends.mkldnn.is_available():
        return _Linear.apply(x, weight)
    return F.linear(x, weight)
