"""Whether a stage's layout can work on given GPUs, and one that does where it cannot."""

from collections.abc import Iterator
from itertools import product
from math import log2

from pydantic import ValidationError

from factory.errors import SeedmillError
from factory.plan.config import PlanConfig
from factory.plan.gpus import GIB, Gpu
from factory.plan.memory import predict
from factory.plan.time import bubble
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import PackedConfig, PretrainConfig, TrainingConfig

FP8_MULTIPLE = 16
MICRO_BATCHES = (16, 8, 4, 2, 1)
CONTEXT = (1, 2, 4, 8)
RECOMPUTATION = 4 / 3
"""One more forward pass beside forward and backward."""
COMMUNICATION = 1.05
"""Time for each doubling of tensor or context ranks: a rule of thumb that only orders proposals."""
LARGEST_WORLD = 4096


def problems(model: ModelConfig, training: TrainingConfig, vocab_size: int, gpu: Gpu, plan: PlanConfig) -> list[str]:
    """Why this layout cannot work, one sentence each; empty when it can."""
    layout = training.layout
    try:
        layout.check_model(model)
    except SeedmillError as error:
        return [str(error)]
    if vocab_size % layout.tensor:
        return [f"layout.tensor {layout.tensor} does not divide the vocabulary {vocab_size}"]
    found = [*_grouping(layout, plan), *_fp8(model, training, gpu)]
    needed = predict(model, training, vocab_size, gpu).total + plan.reserved_gib * GIB
    if needed > gpu.memory:
        found.append(f"needs {needed / GIB:.1f} GiB a GPU of {gpu.memory / GIB:.0f} GiB")
    return found


def _grouping(layout: LayoutConfig, plan: PlanConfig) -> Iterator[str]:
    if layout.tensor > plan.gpus_per_node:
        yield f"layout.tensor {layout.tensor} spans more than one node of {plan.gpus_per_node} GPUs"
    if layout.world_size > plan.gpus_per_node and layout.world_size % plan.gpus_per_node:
        yield f"{layout.world_size} ranks do not fill whole nodes of {plan.gpus_per_node} GPUs"


def _fp8(model: ModelConfig, training: TrainingConfig, gpu: Gpu) -> Iterator[str]:
    """FP8 products need operands whose sides are multiples of 16, on every rank."""
    if training.fp8 == "none":
        return
    if not gpu.fp8_copies:
        yield f"fp8 {training.fp8!r} needs FP8 units, which this GPU has not: set it to none"
    layout = training.layout
    sides = {
        "hidden_size": model.hidden_size // layout.tensor,
        "ffn_hidden_size": model.ffn_hidden_size // layout.tensor,
        "tokens": training.micro_batch * training.sequence_length // layout.context,
    }
    for name, side in sides.items():
        if side % FP8_MULTIPLE:
            yield f"fp8 needs {name} a rank to be a multiple of {FP8_MULTIPLE}, not {side}"


def propose(
    model: ModelConfig, training: TrainingConfig, vocab_size: int, gpu: Gpu, plan: PlanConfig, world: int | None = None
) -> TrainingConfig | None:
    """The stage with the cheapest layout that works, on `world` GPUs (those of its own layout), or on the fewest more.

    More are doublings of `world`, and powers of two.

    Global batch, sequence length and precision stay: a proposal changes how the work is shared, not what is trained. FP8 alone is
    given up, on GPUs without it. None where nothing works within `LARGEST_WORLD` GPUs.
    """
    if not gpu.fp8_copies:
        training = training.model_copy(update={"fp8": "none"})
    for ranks in _worlds(world or training.layout.world_size):
        usable = [c for c in candidates(model, training, ranks) if not problems(model, c, vocab_size, gpu, plan)]
        if usable:
            return min(usable, key=_cost)
    return None


def _worlds(least: int) -> list[int]:
    powers = [2**n for n in range(LARGEST_WORLD.bit_length())]
    return sorted({ranks for power in powers for ranks in (power, least * power) if least <= ranks <= LARGEST_WORLD})


def candidates(model: ModelConfig, training: TrainingConfig, world: int) -> Iterator[TrainingConfig]:
    """Every layout of so many ranks that the recipe's own rules allow."""
    whole_rows = isinstance(training, PackedConfig) or (isinstance(training, PretrainConfig) and training.mask_documents)
    contexts = (1,) if whole_rows else CONTEXT
    shapes = product(_divisors(model.kv_heads), _divisors(model.layers), contexts, (False, True), MICRO_BATCHES)
    for tensor, pipeline, context, recompute, micro_batch in shapes:
        data, rest = divmod(world, tensor * pipeline * context)
        if rest or training.global_batch % (micro_batch * data):
            continue
        layout = {
            "tensor": tensor,
            "pipeline": pipeline,
            "context": context,
            "data": data,
            "sequence_parallel": tensor > 1,
            "distributed_optimizer": data * context > 1 and training.optimizer.kind != "muon",
            "overlap": training.layout.overlap,
            "recompute": recompute,
        }
        try:
            yield type(training).model_validate({**training.model_dump(), "micro_batch": micro_batch, "layout": layout})
        except ValidationError:
            continue  # the recipe's rules refuse it, so it is no candidate


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _cost(training: TrainingConfig) -> tuple[float, int, int]:
    """Relative time of a step; among equals fewer ranks a model, then larger micro-batches."""
    layout = training.layout
    split = layout.tensor * layout.context
    time = (RECOMPUTATION if layout.recompute else 1.0) * COMMUNICATION ** log2(split) / (1 - bubble(training))
    return time, split * layout.pipeline, -training.micro_batch
