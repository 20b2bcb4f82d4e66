"""The optimiser and its schedule, over Megatron's optimisers (fp32 main parameters, optionally sharded among data ranks)."""

import math

import torch

from factory.training import muon
from factory.training.config import OptimizerConfig, TrainingConfig
from factory.training.megatron import (
    HAS_GPU,
    DistributedOptimizer,
    MegatronOptimizer,
    MegatronOptimizerConfig,
    OptimizerParamScheduler,
    clip_grads,
    get_megatron_optimizer,
)
from factory.training.model import Chunks


def build(model: Chunks, training: TrainingConfig) -> MegatronOptimizer:
    """The optimiser of this rank. Without a GPU it is torch's AdamW, in its fused form: one call for all parameters."""
    config = _config(training)
    if training.optimizer.kind == "muon":
        optimizer = muon.build(model, config, training.optimizer)
    else:
        optimizer = get_megatron_optimizer(config, model)  # type: ignore[arg-type]
    if not HAS_GPU:
        for group in (g for g in optimizer.param_groups if "betas" in g):
            group["fused"] = True
    return optimizer


def _config(training: TrainingConfig) -> MegatronOptimizerConfig:
    settings, bf16 = training.optimizer, training.precision == "bf16"
    return MegatronOptimizerConfig(
        optimizer="adam",
        lr=settings.lr,
        min_lr=settings.min_lr,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.beta1,
        adam_beta2=settings.beta2,
        adam_eps=settings.epsilon,
        clip_grad=settings.clip,
        bf16=bf16,
        params_dtype=torch.bfloat16 if bf16 else torch.float32,
        use_distributed_optimizer=training.layout.distributed_optimizer,
    )


def schedule(optimizer: MegatronOptimizer, settings: OptimizerConfig, steps: int) -> OptimizerParamScheduler:
    """Linear warm-up over `settings.warmup` of the steps, then the decay; both ends give a step that moves.

    Megatron's schedule is 0 at position 0 and `min_lr` at its end, so it runs over `steps` + 1 positions and begins at 1.
    """
    scheduler = OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=settings.lr,
        min_lr=settings.min_lr,
        lr_warmup_steps=round(settings.warmup * steps),
        lr_decay_steps=steps + 1,
        lr_decay_style=settings.decay,
        start_wd=settings.weight_decay,
        end_wd=settings.weight_decay,
        wd_incr_steps=steps,
        wd_incr_style="constant",
    )
    scheduler.step(increment=1)
    return scheduler


def guarded_step(optimizer: MegatronOptimizer, clip: float, *, usable: bool, limit: float = math.inf) -> float | None:
    """Update the weights unless the loss was not `usable` or the gradient norm is not below `limit`: then None, and nothing changes.

    Returns the gradient norm before clipping. The norm is that of the whole model, so every rank decides alike.
    """
    found_infinity = optimizer.prepare_grads()
    norm = float(optimizer.get_grad_norm())
    if found_infinity or not usable or not norm < limit:
        return None
    if norm > clip:
        clip_grads.clip_grad_by_total_norm_fp32(_parameters(optimizer), max_norm=clip, total_norm=norm)
    optimizer.step_with_ready_grads()
    return norm


def _parameters(optimizer: MegatronOptimizer) -> list[torch.Tensor]:
    """All that the optimiser updates; a chain of several, as Muon's, does not list them itself."""
    return [parameter for part in _links(optimizer) for parameter in part.get_parameters()]


def _links(optimizer: MegatronOptimizer) -> list[MegatronOptimizer]:
    return getattr(optimizer, "chained_optimizers", [optimizer])


def prepare_for_loading(optimizer: MegatronOptimizer) -> None:
    """Give a fresh distributed optimiser over torch's AdamW the empty state that building a load plan asks for."""
    for part in _links(optimizer):
        if isinstance(part, DistributedOptimizer) and not part.optimizer.state and isinstance(part.optimizer, torch.optim.AdamW):
            for parameter in (p for group in part.optimizer.param_groups for p in group["params"]):
                part.optimizer.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
