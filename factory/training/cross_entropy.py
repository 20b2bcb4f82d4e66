"""Cross-entropy over a whole vocabulary, a few hundred rows at a time.

Logits are the largest tensors of a small model's step. Torch's path makes four fp32 copies of them; here only a slice is ever
in fp32, which stays in the cache, and its exponentials are taken once, for the loss and its gradient alike.
"""

from typing import Any

import torch

ROWS = 256


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        losses = torch.empty(len(labels), device=logits.device)
        by_logits = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        for here in _slices(len(labels)):
            losses[here] = _of_slice(logits[here], labels[here, None], None if by_logits is None else by_logits[here])
        ctx.save_for_backward(by_logits)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (by_logits,) = ctx.saved_tensors
        for here in _slices(len(by_logits)):
            torch.mul(by_logits[here], grads[0][here, None], out=by_logits[here])
        return by_logits, None


def _of_slice(logits: torch.Tensor, labels: torch.Tensor, by_logits: torch.Tensor | None) -> torch.Tensor:
    """The losses [rows] of logits [rows, vocabulary]; their gradient goes to `by_logits`, if there is one."""
    in_place = by_logits is not None and by_logits.dtype is torch.float32
    probabilities = torch.softmax(logits, dim=1, dtype=torch.float32, out=by_logits if in_place else None)
    # the likeliest token's probability never underflows: the normaliser follows from it, whatever the label's
    below = logits.amax(dim=1).float() - logits.gather(1, labels)[:, 0].float()
    losses = below - probabilities.amax(dim=1).log()
    probabilities.scatter_add_(1, labels, probabilities.new_full(labels.shape, -1.0))
    if by_logits is not None and not in_place:
        by_logits.copy_(probabilities)
    return losses


def _slices(rows: int) -> list[slice]:
    return [slice(start, start + ROWS) for start in range(0, rows, ROWS)]


def cross_entropy(labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood [rows, length], fp32 nats, of labels [rows, length] under logits [length, rows, vocabulary].

    The shapes are Megatron's: this stands in for `GPTModel.compute_language_model_loss` where the vocabulary is not split.
    """
    losses = _CrossEntropy.apply(logits.flatten(0, 1), labels.t().reshape(-1))
    return losses.view(labels.shape[1], labels.shape[0]).t()
