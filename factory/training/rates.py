"""How fast training goes: tokens a second, model TFLOP/s, MFU and memory. No part of any digest: `metrics.jsonl` holds no times.

MFU is model FLOP/s (`flops.per_token`) over the sum of the ranks' dense bf16 peaks, whatever the precision (Chowdhery et al. 2022,
appendix B). A processor without a published peak has none.
"""

import resource
import time
from collections import deque

import torch

from factory.plan.gpus import GIB, GPUS
from factory.training.megatron import HAS_GPU

WINDOW = 20
POINTS = 64


def peak() -> float | None:
    """The dense bf16 FLOP/s of this rank's GPU by its data sheet, if it is one that the plan knows."""
    name = torch.cuda.get_device_name().lower() if HAS_GPU else ""
    return next((gpu.peak for key, gpu in GPUS.items() if key in name), None)


def memory() -> float:
    """GiB that this rank had at its peak: on the GPU, or resident without one."""
    used = torch.cuda.max_memory_allocated() if HAS_GPU else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / GIB


class Rates:
    """Rates over the last `WINDOW` steps, over all ranks; and about `POINTS` of them over a whole run of `steps`, for a picture."""

    def __init__(self, flops_per_token: float, ranks: int, steps: int) -> None:
        self._flops, self._peak, self._every = flops_per_token, peak(), -(-steps // POINTS)
        self._ranks = ranks
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW + 1)
        self.points: list[tuple[int, float]] = []

    def begin(self, tokens: int) -> None:
        """Start the clock, when `tokens` had been seen by earlier attempts."""
        self._seen.append((time.monotonic(), tokens))

    def step(self, step: int, tokens: int) -> dict[str, float]:
        """The figures after step `step`, when `tokens` have been seen in all."""
        self.begin(tokens)
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        rate = (now - before) / max(last - first, 1e-9)
        if step % self._every == 0:
            self.points.append((step, round(rate, 1)))
        return self.of(rate)

    def of(self, rate: float) -> dict[str, float]:
        """What `rate` tokens a second are in model TFLOP/s and, where the peak is known, MFU; with the memory in use."""
        found = {"tokens_per_second": round(rate, 1), "model_tflops_per_second": round(rate * self._flops / 1e12, 6)}
        if self._peak is not None:
            found["mfu"] = round(rate * self._flops / (self._ranks * self._peak), 4)
        return found | {"memory_gib": round(memory(), 3)}
