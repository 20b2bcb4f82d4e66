"""The two objectives: next-token cross-entropy, and direct preference optimisation.

Each is a Megatron forward step: it returns the model's output and a function from output to (summed loss, number of units,
report). Megatron divides by the number of units of the whole global batch, over all ranks and micro-batches, so the loss is the
exact mean whatever the layout.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from factory.training.megatron import DEVICE, HAS_GPU, PackedSeqParams, get_batch_on_this_cp_rank
from factory.training.rows import Batch

Loss = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]
ForwardStep = Callable[[Iterator[Batch], torch.nn.Module], tuple[torch.Tensor, Callable[[torch.Tensor], Loss]]]
REPORT = "sums"


def token_losses(batch: Batch, model: torch.nn.Module) -> torch.Tensor:
    """The cross-entropy of every label [rows, length] (on an inner pipeline stage: its activations).

    With `segments` no token attends outside its own: a blocked mask on the CPU, variable-length attention on a GPU.
    """
    tokens, labels = batch["tokens"], batch["labels"]
    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    if "segments" not in batch:
        return model(tokens, positions, None, labels=labels)
    if not HAS_GPU:
        return model(tokens, positions, _blocked(batch["segments"]), labels=labels)
    packed = _variable_lengths(batch["segments"])
    flat = model(tokens.reshape(1, -1), positions.reshape(1, -1), None, labels=labels.reshape(1, -1), packed_seq_params=packed)
    return flat.reshape(labels.shape) if flat.shape == (1, labels.numel()) else flat


def rows_and_length(batch: Batch) -> tuple[int, int]:
    """The rows of a micro-batch and their length as the model gets them, and as pipeline stages hand activations on.

    Rows that `token_losses` lays end to end are one long row.
    """
    rows, length = batch["tokens"].shape
    return (1, rows * length) if "segments" in batch and HAS_GPU else (rows, length)


def _blocked(segments: torch.Tensor) -> torch.Tensor:
    """[rows, 1, length, length], true where a query may not see a key: a later one, or one of another segment."""
    length = segments.shape[1]
    later = torch.ones(length, length, dtype=torch.bool, device=segments.device).triu(1)
    return ((segments[:, :, None] != segments[:, None, :]) | later)[:, None]


def _variable_lengths(segments: torch.Tensor) -> PackedSeqParams:
    """The rows laid end to end as one packed sequence, cut wherever the segment or the row changes."""
    rows, length = segments.shape
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    ends = torch.tensor([rows * length], device=segments.device)
    bounds = torch.cat([starts.reshape(-1).nonzero().reshape(-1), ends]).to(torch.int32)
    longest = int((bounds[1:] - bounds[:-1]).max())
    return PackedSeqParams(qkv_format="thd", cu_seqlens_q=bounds, cu_seqlens_kv=bounds, max_seqlen_q=longest, max_seqlen_kv=longest)


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy per counted label, in nats."""

    reports = ("loss",)

    def forward(self, batches: Iterator[Batch], model: torch.nn.Module) -> tuple[torch.Tensor, Callable[[torch.Tensor], Loss]]:
        """One micro-batch."""
        batch = _on_device(next(batches))
        return token_losses(batch, model), functools.partial(self._loss, batch["loss_mask"])

    def _loss(self, mask: torch.Tensor, losses: torch.Tensor) -> Loss:
        total, number = (losses.float() * mask).sum(), mask.sum()
        return total, number.to(torch.int), {REPORT: _report(number, total)}


@dataclass(frozen=True)
class Preference:
    """DPO (Rafailov et al. 2023, eq. 7): -log sigmoid(beta x margin), the margin being the policy's log-ratio of chosen to
    rejected less the reference's; plus `nll_weight` x the chosen response's mean negative log-likelihood.

    Batches number examples in pairs (2k chosen, 2k + 1 rejected) and carry `reference` [pairs, 2] and `lengths` [pairs, 2].
    """

    beta: float
    nll_weight: float = 0.0
    reports = ("loss", "margin", "accuracy", "chosen_shift", "rejected_shift")

    def forward(self, batches: Iterator[Batch], model: torch.nn.Module) -> tuple[torch.Tensor, Callable[[torch.Tensor], Loss]]:
        """One micro-batch."""
        batch = _on_device(next(batches))
        return token_losses(batch, model), functools.partial(self._loss, batch)

    def _loss(self, batch: Batch, losses: torch.Tensor) -> Loss:
        policy = log_probabilities(batch, losses, len(batch["reference"]))
        shift = policy - batch["reference"]
        margin = self.beta * (shift[:, 0] - shift[:, 1])
        per_pair = -F.logsigmoid(margin) - self.nll_weight * policy[:, 0] / batch["lengths"][:, 0]
        number = torch.tensor(len(policy), device=losses.device)
        sums = (per_pair.sum(), margin.sum(), (margin > 0).sum(), shift[:, 0].sum(), shift[:, 1].sum())
        return sums[0], number.to(torch.int), {REPORT: _report(number, *sums)}


def log_probabilities(batch: Batch, losses: torch.Tensor, pairs: int) -> torch.Tensor:
    """The summed log-probability of each example's counted labels, [pairs, 2] float32; padding falls into a bucket of its own."""
    examples = 2 * pairs
    bucket = torch.where(batch["segments"] < 0, examples, batch["segments"]).reshape(-1)
    values = (-losses.float() * batch["loss_mask"]).reshape(-1)
    return torch.zeros(examples + 1, device=losses.device).index_add(0, bucket, values)[:-1].reshape(-1, 2)


def _report(number: torch.Tensor, *sums: torch.Tensor) -> torch.Tensor:
    """Units and sums as one detached float64 vector; a copy, because Megatron scales the loss in place."""
    return torch.stack([value.detach().double() for value in (number, *sums)])


def _on_device(batch: Batch) -> dict[str, Any]:
    return get_batch_on_this_cp_rank({name: value.to(DEVICE, non_blocking=True) for name, value in batch.items()})
