"""Megatron's distributed checkpoints: saved at one layout, loaded at any; and their content read back without any ranks.

A checkpoint folder holds model, optimiser, schedule and counters. The data position is the step counter alone.
"""

import contextlib
import os
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors

from factory.digest import canonical_json, file_digest, tensors_digest
from factory.errors import NO_ROOM, system_error
from factory.parts import write_atomically
from factory.training import seal
from factory.training.distributed import from_all, from_main, is_main
from factory.training.megatron import (
    HAS_GPU,
    AsyncRequest,
    MegatronOptimizer,
    OptimizerParamScheduler,
    TorchDistSaveShardedStrategy,
    dist_checkpointing,
    filesystem_async,
    parallel_state,
)
from factory.training.model import Chunks, gather_parameters, unwrap
from factory.training.optimizer import prepare_for_loading

MODEL_PREFIX = "model."
PROBE = 1 << 16


@dataclass
class Counters:
    """How far training is: steps taken (skipped ones too), tokens seen, and steps skipped in all and in a row."""

    step: int = 0
    tokens: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0


class Writing:
    """A checkpoint on its way to the disk: a thread writes this rank's file, `finish` makes the whole of all ranks' files."""

    def __init__(self, folder: Path, request: AsyncRequest) -> None:
        self._folder, self._request = folder, request
        pool = ThreadPoolExecutor(1, "checkpoint")
        self._digests = pool.submit(self._write)
        pool.shutdown(wait=False)

    def _write(self) -> dict[str, str]:
        """Write, and give the digests of the files; Megatron keeps what went wrong in writing for `finish`."""
        if self._request.async_fn is None:
            return {}
        self._request.async_fn(*self._request.async_fn_args)
        files = [Path(path) for path, *_ in self._request.async_fn_args[1]]
        return {file.name: file_digest(file) for file in files if file.exists()}

    @property
    def written(self) -> bool:
        """Whether `finish` would wait for other ranks alone."""
        return self._digests.done()

    def finish(self) -> None:
        """Wait until every rank has written, then seal the checkpoint; every rank calls it. Raises `OSError` on a full disk."""
        digests = self._digests.result()
        with _naming_a_full_disk(self._folder):
            for finalize in self._request.finalize_fns:
                finalize()
        found = from_all(digests)
        if is_main():
            seal.write(self._folder, {name: value for one in found for name, value in one.items()})


def begin(folder: Path, model: Chunks, optimizer: MegatronOptimizer, scheduler: OptimizerParamScheduler, counters: Counters) -> Writing:
    """Begin a checkpoint in an existing empty folder, from a copy of everything; training may go on. Every rank calls it."""
    return _begin(folder, _state(model, optimizer, scheduler, counters), copy=True)


def save(folder: Path, model: Chunks, optimizer: MegatronOptimizer, scheduler: OptimizerParamScheduler, counters: Counters) -> None:
    """Write a checkpoint into an existing empty folder; every rank calls it."""
    _begin(folder, _state(model, optimizer, scheduler, counters), copy=False).finish()


def save_weights(folder: Path, model: Chunks) -> None:
    """Write the weights alone: what another stage can start from, but none go on with."""
    _begin(folder, _model_state(model), copy=False).finish()


def _state(model: Chunks, optimizer: MegatronOptimizer, scheduler: OptimizerParamScheduler, counters: Counters) -> dict[str, Any]:
    gather_parameters(model)
    state = _model_state(model) | _optimizer_state(model, optimizer, loading=False)
    return state | {"scheduler": scheduler.state_dict(), "counters": asdict(counters)}


def _begin(folder: Path, state: dict[str, Any], *, copy: bool) -> Writing:
    """Plan the files with all ranks, and let a thread write this one's.

    Megatron forks a writer, which outlives a killed job and waits for it for ever, and collects its results through a queue that
    belongs to a spawned manager process, which imports all of torch (2 CPU-seconds a save): a thread and a plain queue do.
    """
    filesystem_async._results_queue = queue.Queue()
    filesystem_async.FileSystemWriterAsync.write_preloaded_data_multiproc = staticmethod(_write_here)  # type: ignore[assignment]
    strategy = TorchDistSaveShardedStrategy("torch_dist", 1, thread_count=1)
    metadata = {"distrib_optim_sharding_type": "fully_reshardable"}
    with _trying_the_disk(folder):
        request = dist_checkpointing.save(state, str(folder), strategy, content_metadata=metadata, async_sharded_save=True)
    assert request is not None
    return Writing(folder, _in_host_memory(request, copy=copy))


def _in_host_memory(request: AsyncRequest, *, copy: bool) -> AsyncRequest:
    """The request over tensors in the host's memory: copies, where training will change the originals (Megatron copies a GPU's alone)."""
    if request.async_fn is None:
        return request
    rank, buckets, results = request.async_fn_args
    staged = [
        (path, key, (objects, [(item, tensor.to("cpu", copy=copy)) for item, tensor in tensors]))
        for path, key, (objects, tensors) in buckets
    ]
    return request._replace(async_fn_args=(rank, staged, results))


def load(folder: Path, model: Chunks, optimizer: MegatronOptimizer, scheduler: OptimizerParamScheduler) -> Counters:
    """Restore everything that `save` wrote, at this job's layout; every rank calls it."""
    check(folder)
    prepare_for_loading(optimizer)
    state = _model_state(model) | _optimizer_state(model, optimizer, loading=True)
    state |= {"scheduler": None, "counters": None}
    loaded: dict[str, Any] = dist_checkpointing.load(state, str(folder))  # type: ignore[assignment]
    _take_over(model, loaded)
    optimizer.load_state_dict(loaded["optimizer"])
    scheduler.num_steps = 0  # Megatron's load advances from where the schedule is
    scheduler.load_state_dict(loaded["scheduler"])
    return Counters(**loaded["counters"])


def load_weights(folder: Path, model: Chunks) -> None:
    """Take over the weights of another stage's checkpoint, before an optimiser copies them; every rank calls it."""
    check(folder)
    loaded: dict[str, Any] = dist_checkpointing.load(_model_state(model), str(folder))  # type: ignore[assignment]
    _take_over(model, loaded)


def _write_here(transforms: list[Any], _: bool, __: int, buckets: list[Any], results: "queue.Queue[Any]") -> None:
    """Stands for Megatron's forking writer: the same write of the same buckets, in this process."""
    written: dict[int, Any] | Exception = {}
    write: Any = filesystem_async.FileSystemWriterAsync.write_preloaded_data
    for number, bucket in enumerate(buckets):
        found: queue.Queue[Any] = queue.Queue()
        running: queue.Queue[int] = queue.Queue()
        running.put(number)
        write(transforms, number, bucket, found, running, use_fsync=True)
        _, outcome = found.get()
        if isinstance(outcome, Exception):
            written = system_error(outcome) or outcome  # torch's archives complain of their length when a write failed
            break
        written[number] = outcome
    results.put(written)


@contextlib.contextmanager
def _trying_the_disk(folder: Path) -> Iterator[None]:
    """Megatron lets torch write one small file by its path, and torch does not say why that failed: another file does."""
    try:
        yield
    except RuntimeError:
        if is_main():
            write_atomically(folder / "probe", bytes(PROBE))
        raise


@contextlib.contextmanager
def _naming_a_full_disk(folder: Path) -> Iterator[None]:
    """Megatron's writers hand errors on as text, to rank 0: give a full disk its number back, by which jobs explain it, on every rank."""
    try:
        yield
    except CheckpointException as error:
        number = from_main(next((n for n in NO_ROOM if f"[Errno {n}]" in str(error)), None))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(folder)) from error


def check(folder: Path) -> None:
    """Raise `SeedmillError` on rank 0 where a sealed folder is not as it was written; every rank calls it, and waits for rank 0."""
    if is_main():
        seal.check(folder)
    from_main(None)


def tensors(folder: Path, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The whole, unsharded tensors of a checkpoint whose names start with `prefix`, sorted by name, one in memory at a time."""
    reader = FileSystemReader(folder)
    entries = reader.read_metadata().state_dict_metadata
    for name in sorted(entries):
        entry = entries[name]
        if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata):
            tensor = torch.empty(entry.size, dtype=entry.properties.dtype)
            load_tensors({name: tensor}, storage_reader=reader, no_dist=True)
            yield name, tensor


def digest(folder: Path, counters: Counters) -> str:
    """The digest of a checkpoint's content: model and optimiser tensors and counters, whatever the files' layout."""

    def entries() -> Iterator[tuple[str, str, tuple[int, ...], bytes]]:
        for name, tensor in tensors(folder):
            yield name, str(tensor.dtype), tuple(tensor.shape), tensor.contiguous().view(torch.uint8).numpy().tobytes()
        yield "~counters", "json", (), canonical_json(asdict(counters))

    return tensors_digest(entries())


def _metadata() -> dict[str, Any]:
    return {
        "distrib_optim_sharding_type": "fully_reshardable",
        "distrib_optim_fully_reshardable_mem_efficient": not HAS_GPU,
        "chained_optim_avoid_prefix": True,
        "singleton_local_shards": False,
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }


def _model_state(model: Chunks) -> dict[str, Any]:
    return {name: unwrap(chunk).sharded_state_dict(prefix=MODEL_PREFIX, metadata=_metadata()) for name, chunk in _named(model)}


def _take_over(model: Chunks, loaded: dict[str, Any]) -> None:
    for name, chunk in _named(model):
        unwrap(chunk).load_state_dict(_without_prefix(loaded[name]))


def _named(model: Chunks) -> list[tuple[str, torch.nn.Module]]:
    """The chunks under names that never reach the files: tensors are stored by their place in the whole model."""
    return [(f"model{number}" if number else "model", chunk) for number, chunk in enumerate(model)]


def _optimizer_state(model: Chunks, optimizer: MegatronOptimizer, *, loading: bool) -> dict[str, Any]:
    sharded = {name: unwrap(chunk).sharded_state_dict(metadata=_metadata()) for name, chunk in _named(model)}
    return {"optimizer": optimizer.sharded_state_dict(sharded, is_loading=loading, metadata=_metadata())}


def _without_prefix(state: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(MODEL_PREFIX): value for name, value in state.items()}
