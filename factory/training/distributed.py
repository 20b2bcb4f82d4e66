"""The process groups of a job: joined at its start, left at its end, and the few collectives that the trainer itself makes."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from factory.errors import SeedmillError
from factory.training.architecture import LayoutConfig
from factory.training.launch import RENDEZVOUS
from factory.training.megatron import DEVICE, HAS_GPU, model_parallel_cuda_manual_seed, parallel_state


@contextlib.contextmanager
def joined(layout: LayoutConfig, seed: int) -> Iterator[None]:
    """Join the world that the environment describes, in `layout`; leave it when the block ends."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != layout.world_size:
        raise SeedmillError(
            f"the layout has {layout.world_size} ranks but {world} were started: set the job's processes to {layout.world_size}"
        )
    if HAS_GPU:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    _join(world)
    try:
        virtual = layout.virtual_stages if layout.virtual_stages > 1 else None
        parallel_state.initialize_model_parallel(layout.tensor, layout.pipeline, virtual, context_parallel_size=layout.context)
        torch.manual_seed(seed)
        model_parallel_cuda_manual_seed(seed)
        yield
    finally:
        parallel_state.destroy_model_parallel()
        dist.destroy_process_group()


def _join(world: int) -> None:
    backend = "nccl" if HAS_GPU else "gloo"
    if world == 1:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        return
    rendezvous = os.environ.get(RENDEZVOUS)
    method = f"file://{rendezvous}" if rendezvous else "env://"
    dist.init_process_group(backend, init_method=method, rank=int(os.environ["RANK"]), world_size=world)


def is_main() -> bool:
    """Whether this rank writes outputs and messages."""
    return dist.get_rank() == 0


def from_main(value: Any) -> Any:
    """Rank 0's `value`, on every rank."""
    if dist.get_world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def speaks_for_loss() -> bool:
    """Whether this rank's loss counts in a sum over the world: last pipeline stage, first of its tensor ranks."""
    return parallel_state.is_pipeline_last_stage() and parallel_state.get_tensor_model_parallel_rank() == 0


def sum_over_world(values: torch.Tensor) -> torch.Tensor:
    """The sum of a float64 vector over all ranks, on the CPU."""
    if dist.get_world_size() == 1:
        return values
    moved = values.to(DEVICE)
    dist.all_reduce(moved)
    return moved.cpu()


def from_all(value: Any) -> list[Any]:
    """Every rank's `value`, in the order of ranks, on rank 0; elsewhere nothing."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.gather_object(value, found if is_main() else None)
    return found if is_main() else []
