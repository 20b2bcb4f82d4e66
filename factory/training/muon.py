"""Muon for the matrices of the blocks, by `torch.optim.Muon` inside Megatron's wrappers; AdamW for embedding, head and norms.

Megatron's own Muon needs a package that no registry carries. Torch's orthogonalises whole matrices, so the section refuses
layouts that split them; fused projections (queries with keys and values, gate with up) count as one matrix each.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from factory.training.config import OptimizerConfig
from factory.training.megatron import (
    ChainedOptimizer,
    Float16OptimizerWithFloat16Params,
    FP32Optimizer,
    MegatronOptimizer,
    MegatronOptimizerConfig,
    get_megatron_optimizer,
    parameter_groups,
)
from factory.training.model import Chunks


def build(model: Chunks, config: MegatronOptimizerConfig, settings: OptimizerConfig) -> MegatronOptimizer:
    """Both optimisers as one of Megatron's; updates are scaled to AdamW's size (Liu et al. 2025, section 2.2)."""
    matrices = [p for chunk in model for p in chunk.parameters() if _is_block_matrix(p)]
    others = [p for chunk in model for p in chunk.parameters() if not _is_block_matrix(p)]
    with _frozen(others):
        muon = torch.optim.Muon(
            parameter_groups(model, config, None),  # type: ignore[arg-type]
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        wrapped = _wrap(muon, config)
    with _frozen(matrices):
        adam = get_megatron_optimizer(config, model)  # type: ignore[arg-type]
    return ChainedOptimizer([wrapped, *getattr(adam, "chained_optimizers", [adam])])


def _is_block_matrix(parameter: torch.Tensor) -> bool:
    return parameter.dim() == 2 and not getattr(parameter, "is_embedding_or_output_parameter", False)


def _wrap(muon: torch.optim.Muon, config: MegatronOptimizerConfig) -> MegatronOptimizer:
    if config.bf16:
        return Float16OptimizerWithFloat16Params(muon, config, None, _empty_state)  # type: ignore[arg-type]
    return FP32Optimizer(muon, config, _empty_state)


def _empty_state(optimizer: torch.optim.Optimizer, _: Any = None) -> None:
    """What a load plan must find in a fresh optimiser."""
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


@contextlib.contextmanager
def _frozen(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Megatron leaves frozen parameters out of the groups that it makes."""
    frozen = list(parameters)
    for parameter in frozen:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad = True
