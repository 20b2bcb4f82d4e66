"""FP8 held against BF16: the same weights, the same rows, forward and backward, in the first steps and now and then.

Comparing single steps from the same weights tells a broken scale from the drift of two runs, which differ in any case.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from factory.errors import SeedmillError
from factory.training.config import ShadowConfig, TrainingConfig
from factory.training.model import Chunks, unwrap


@dataclass(frozen=True)
class Measured:
    """Loss and gradient norm of one step."""

    loss: float
    norm: float


def due(training: TrainingConfig, step: int) -> bool:
    """Whether step `step` (from 0) is compared."""
    shadow = training.shadow
    return training.fp8 != "none" and (step < shadow.first_steps or step % shadow.every == 0)


def compare(fp8: Measured, bf16: Measured, shadow: ShadowConfig, step: int) -> dict[str, float]:
    """The relative differences, by name; raises `SeedmillError` when FP8 strays further than the recipe allows."""
    found = {"loss": _difference(fp8.loss, bf16.loss), "gradient norm": _difference(fp8.norm, bf16.norm)}
    for name, field, limit in (("loss", "tolerance", shadow.tolerance), ("gradient norm", "norm_tolerance", shadow.norm_tolerance)):
        if not found[name] <= limit:
            raise SeedmillError(
                f"step {step + 1}: {name} in FP8 is {found[name]:.2%} off that in BF16 (shadow.{field} is {limit:.2%}): "
                "train in bf16 (fp8: none), or choose another fp8 recipe"
            )
    return found


def _difference(value: float, reference: float) -> float:
    return abs(value - reference) / max(abs(reference), 1e-12)


@contextlib.contextmanager
def in_bf16(chunks: Chunks) -> Iterator[None]:
    """Let the same weights compute in BF16 while the block runs: Megatron asks its settings in every forward pass."""
    configs = [unwrap(chunk).config for chunk in chunks]
    kept = [config.fp8 for config in configs]
    for config in configs:
        config.fp8 = None
    try:
        yield
    finally:
        for config, value in zip(configs, kept, strict=True):
            config.fp8 = value  # type: ignore[assignment]
