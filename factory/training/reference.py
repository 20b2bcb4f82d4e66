"""The reference's log-probabilities of both responses of every pair: computed once, cached by content.

Last bits depend on what shares a batch, so pairs are packed in stored order, whatever the run's own order; and the key holds
all that has a say in the bits.

Trained on, wrong values would look like any others. So a file of the cache is sealed under its key, and computed again where it is
not as it was written, or was written for something else.
"""

import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from factory.context import Context
from factory.digest import json_digest
from factory.parts import sealed, unsealed, write_atomically
from factory.training import objectives
from factory.training.config import DpoConfig
from factory.training.distributed import from_main, is_main, speaks_for_loss, sum_over_world
from factory.training.megatron import DEVICE, get_forward_backward_func, parallel_state
from factory.training.model import Chunks
from factory.training.objectives import Loss
from factory.training.packing import Group, PackedRows, pack
from factory.training.rows import Batch
from factory.training.stage import Parent

VALUES = "log_probabilities"


def log_probabilities(context: Context, section: DpoConfig, model: Chunks, groups: list[Group], parent: Parent) -> np.ndarray:
    """Summed log-probabilities [pairs, 2] (chosen, rejected), float32, under `model`, which holds the parent's weights."""
    path = context.cache / "reference" / f"{_key(context, section, groups, parent)}.npy"
    kept = from_main(_kept(context, path) if is_main() else None)
    if kept is not None:
        return kept
    layout = pack([group.length for group in groups], section.sequence_length)
    layout += [[] for _ in range(-len(layout) % section.micro_batch)]
    values = _evaluate(PackedRows(section.pairs, groups, layout, section.sequence_length), section, model)
    if is_main():
        _keep(path, values)
    from_main(None)
    return values


def _key(context: Context, section: DpoConfig, groups: list[Group], parent: Parent) -> str:
    chosen = section.model_dump(include={"sequence_length", "micro_batch", "precision", "fp8", "layout"})
    pairs = {"pairs": context.inputs[section.pairs].digest, "number": len(groups)}
    return json_digest({"parent": parent.digest, "device": DEVICE.type, **pairs, **chosen})


def _kept(context: Context, path: Path) -> np.ndarray | None:
    """The values of an earlier run; None where there are none, or where their seal is broken."""
    if not path.exists():
        return None
    values = unsealed(path)
    if values is None:
        context.log(f"the kept reference {path} is not as it was written, or of other pairs: it is computed again")
        return None
    return np.load(io.BytesIO(values))


def _keep(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    np.save(stream, values)
    write_atomically(path, sealed(path.name, stream.getvalue()))


@torch.no_grad()
def _evaluate(rows: PackedRows, section: DpoConfig, model: Chunks) -> np.ndarray:
    """Run the forward pass over all rows, micro-batches dealt out among the data ranks."""
    for chunk in model:
        chunk.eval()
    values = torch.zeros(len(rows.groups), 2, dtype=torch.float64)
    size, replica = section.micro_batch, parallel_state.get_data_parallel_rank()
    starts = range(replica * size, len(rows), size * parallel_state.get_data_parallel_world_size())
    for start in starts:
        indices = range(start, start + size)
        result = _forward(rows.batch(indices), model)
        if speaks_for_loss():
            values[[g for i in indices for g in rows.rows[i]]] = result.double().cpu()
    return sum_over_world(values).float().numpy()


def _forward(batch: Batch, model: Chunks) -> torch.Tensor:
    rows, length = objectives.rows_and_length(batch)
    reports = get_forward_backward_func()(
        forward_step_func=_forward_step,
        data_iterator=iter([batch]),
        model=[*model],
        num_microbatches=1,
        seq_length=length,
        micro_batch_size=rows,
        forward_only=True,
    )
    return reports[0][VALUES] if reports else torch.empty(0)


def _forward_step(batches: Iterator[Batch], model: torch.nn.Module) -> tuple[torch.Tensor, Callable[[torch.Tensor], Loss]]:
    batch = {name: value.to(DEVICE) for name, value in next(batches).items()}
    return objectives.token_losses(batch, model), functools.partial(_collect, batch)


def _collect(batch: Batch, losses: torch.Tensor) -> Loss:
    pairs = (int(batch["segments"].max()) + 1) // 2
    values = objectives.log_probabilities(batch, losses, pairs)
    return values.sum(), torch.tensor(pairs, dtype=torch.int, device=losses.device), {VALUES: values}
