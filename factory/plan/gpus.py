"""The GPUs that a plan knows: dense peaks and memory from NVIDIA's data sheets for the SXM modules."""

from dataclasses import dataclass

from factory.plan.config import GpuName

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """Dense bf16 peak in FLOP/s, the memory a program can allocate, and how a linear layer's weights are kept for FP8.

    `fp8_copies` is the number of one-byte copies of each weight: Hopper's FP8 matrix units take one operand order only, so a
    transposed copy is kept as well; Blackwell's take both; 0 means no FP8 units.
    """

    peak: float
    memory: float
    fp8_copies: int


GPUS: dict[GpuName, Gpu] = {
    "a100": Gpu(peak=312e12, memory=79 * GIB, fp8_copies=0),
    "h100": Gpu(peak=989.4e12, memory=79 * GIB, fp8_copies=2),
    "h200": Gpu(peak=989.4e12, memory=139 * GIB, fp8_copies=2),
    "b200": Gpu(peak=2250e12, memory=178 * GIB, fp8_copies=1),
}
"""80 GB, 80 GB, 141 GB and 180 GB modules; `memory` is what is left to a program, rounded down to whole GiB."""
