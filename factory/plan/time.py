"""FLOPs into time: steps of a stage, utilisation assumed, measured or published, and GPU-hours."""

from factory.errors import SeedmillError
from factory.plan.config import GpuName, PlanConfig, PublishedRun
from factory.plan.gpus import GPUS
from factory.plan.memory import micro_batches
from factory.store.manifest import Manifest
from factory.training.config import DpoConfig, PackedConfig, TrainingConfig

DAY = 86_400
SAME_PEAK = 1.3
"""Peaks closer than this factor are one: the recorded utilisation has four decimals, and kinds differ by more than twice."""
FORWARD_SHARE = 1 / 3
"""A forward pass takes a third of a training step's FLOPs."""


def steps(training: TrainingConfig, examples: int, tokens_each: int) -> int:
    """Optimiser steps: those of the recipe, or those that the epochs over packed examples make (a full row wastes nothing)."""
    if not isinstance(training, PackedConfig) or training.steps is not None:
        return getattr(training, "steps")  # noqa: B009 (every subclass has the field, the base class has not)
    row_tokens = training.global_batch * training.sequence_length
    return max(1, -(-training.epochs * examples * tokens_each // row_tokens))


def expected_examples(name: str, training: TrainingConfig, plan: PlanConfig, conversations: int) -> tuple[int, int]:
    """How many examples a packed stage will read, and their mean length in tokens; (0, 0) for stages that count steps.

    Raises `SeedmillError` where the number follows from nothing that the recipe says.
    """
    if not isinstance(training, PackedConfig) or training.steps is not None:
        return 0, 0
    if not isinstance(training, DpoConfig):
        return conversations + plan.imported_chats, plan.tokens_per_conversation
    pairs = plan.pairs.get(training.pairs)
    if pairs is None:
        raise SeedmillError(f"training.{name} counts epochs over {training.pairs}: give plan.pairs.{training.pairs}, or steps")
    return pairs, plan.tokens_per_pair.get(training.pairs, training.sequence_length)


def stage_flops(training: TrainingConfig, number_of_steps: int, flops_per_token: float) -> float:
    """Model FLOPs of a stage; preference optimisation adds one forward pass of the reference over one epoch."""
    tokens = training.rows_before(number_of_steps) * training.sequence_length
    reference = 0.0
    if isinstance(training, DpoConfig):
        reference = FORWARD_SHARE * tokens / (training.epochs if training.steps is None else 1)
    return (tokens + reference) * flops_per_token


def bubble(training: TrainingConfig) -> float:
    """The share of a step that pipeline ranks wait: (p - 1) / (v m + p - 1) for m micro-batches and v virtual stages (Narayanan
    et al. 2021, section 2.2).
    """
    waiting = training.layout.pipeline - 1
    return waiting / (micro_batches(training) * training.layout.virtual_stages + waiting)


def published_mfu(run: PublishedRun, flops_per_token: float) -> float:
    """The utilisation that a published run's tokens, GPUs and days imply, against the dense bf16 peak."""
    return run.tokens * flops_per_token / (run.gpus * run.days * DAY * GPUS[run.gpu].peak)


def measured_mfu(manifest: Manifest, gpu: GpuName) -> float:
    """The utilisation of an earlier training run. Raises `SeedmillError` where none was measured on GPUs of this kind."""
    name, rate = f"{manifest.asset}@{manifest.version}", manifest.metrics.get("model_tflops_per_second")
    if rate is None:
        raise SeedmillError(f"{name} measured no training rate: name a checkpoint")
    if not manifest.cost.gpu_seconds:
        raise SeedmillError(f"{name} was trained without a GPU, so its rate says nothing about one")
    kinds = measured_on(manifest)
    if kinds and gpu not in kinds:
        raise SeedmillError(f"{name} was measured on {' or '.join(kinds)}, which says nothing about {gpu}: plan with --gpu {kinds[0]}")
    return _flops_a_gpu(manifest) / GPUS[gpu].peak


def measured_on(manifest: Manifest) -> list[GpuName]:
    """The kinds of GPU that a run may have been measured on: those with the peak that its own MFU was reckoned with.

    A manifest names no device. Empty where the trainer knew no peak, and so recorded no MFU.
    """
    mfu = manifest.metrics.get("mfu")
    if not mfu:
        return []
    peak = _flops_a_gpu(manifest) / mfu
    return [kind for kind, gpu in GPUS.items() if 1 / SAME_PEAK < peak / gpu.peak < SAME_PEAK]


def _flops_a_gpu(manifest: Manifest) -> float:
    layout = manifest.section["layout"]
    world = layout["tensor"] * layout["pipeline"] * layout["context"] * layout["data"]
    return manifest.metrics["model_tflops_per_second"] * 1e12 / world
