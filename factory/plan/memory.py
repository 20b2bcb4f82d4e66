"""Memory of a training rank, by kind.

State is exact. Activations are a count of the tensors that autograd keeps, after Korthikanti et al. 2022 (section 4), with
RMSNorm, SwiGLU, grouped queries and attention that keeps no scores: those of Transformer Engine's layers on a GPU, or those of
Megatron's local layers on a CPU. The CPU's count is tested against a measured step; the GPU's is not, for want of a GPU in CI.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from factory.plan import params
from factory.plan.gpus import Gpu
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import TrainingConfig

Device = Literal["gpu", "cpu"]
FP32 = 4
ADAM = 2 * FP32
PRODUCT_ATTENTION = 1024
"""Up to this length the CPU's bf16 attention is two plain products, which keep their probabilities."""
SLICE_ROWS, SLICES = 256, 2
"""The CPU's cross-entropy widens so many rows of logits at a time, into so many fp32 buffers."""


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest rank at the peak of a step."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    fp8_copies: float = 0.0

    @property
    def total(self) -> float:
        """All kinds together."""
        return sum(asdict(self).values())


def predict(model: ModelConfig, training: TrainingConfig, vocab_size: int, gpu: Gpu | None) -> Memory:
    """The fullest rank's memory; `gpu` None is a CPU with Megatron's local layers."""
    stages = range(training.layout.pipeline)
    return max((on_stage(model, training, vocab_size, gpu, stage) for stage in stages), key=lambda memory: memory.total)


def on_stage(model: ModelConfig, training: TrainingConfig, vocab_size: int, gpu: Gpu | None, stage: int) -> Memory:
    """Memory of a rank of pipeline stage `stage`. Gradients are always fp32; bf16 weights have fp32 main parameters as well."""
    layout, mixed = training.layout, training.precision == "bf16"
    number = params.on_rank(model, vocab_size, layout, stage)
    shards = layout.data * layout.context if layout.distributed_optimizer else 1
    copies = gpu.fp8_copies if gpu and training.fp8 != "none" else 0
    return Memory(
        weights=number * width(training),
        gradients=number * FP32,
        optimizer=(number * (ADAM + (FP32 if mixed else 0)) - _spared(model, training)) / shards,
        activations=activations(model, training, vocab_size, "gpu" if gpu else "cpu", stage),
        fp8_copies=copies * model.layers // layout.pipeline * params.linear(model) / layout.tensor,
    )


def activations(model: ModelConfig, training: TrainingConfig, vocab_size: int, device: Device, stage: int) -> float:
    """Bytes alive at the peak of forward and backward: at the loss, or in the last block's backward pass."""
    layout = training.layout
    tokens = training.micro_batch * training.sequence_length // layout.context
    block = _block(model, training, device) * tokens
    kept = tokens * width(training) * model.hidden_size / _sequence_ranks(layout) if layout.recompute else block
    last = stage == layout.pipeline - 1
    ends, loss = _head(model, training, vocab_size, device, tokens) if last else (0.0, 0.0)
    backward = _block_gradients(model, training, device) * tokens + (block if layout.recompute else 0.0)
    return blocks_in_flight(model, training, stage) * kept + max(ends + loss, backward)


def blocks_in_flight(model: ModelConfig, training: TrainingConfig, stage: int) -> int:
    """Blocks whose activations a pipeline rank holds at once: its warm-up's and one more.

    One-forward-one-backward warms up with a micro-batch for each later rank; the interleaved schedule with two pieces for each,
    and one round of the pipeline for each further piece (Narayanan et al. 2021, section 2.2; Megatron-core's schedules).
    """
    layout = training.layout
    later, pieces = layout.pipeline - stage - 1, layout.virtual_stages
    waiting = later if pieces == 1 else 2 * later + (pieces - 1) * layout.pipeline
    return min(waiting + 1, micro_batches(training) * pieces) * model.layers // (layout.pipeline * pieces)


def _spared(model: ModelConfig, training: TrainingConfig) -> int:
    """Bytes of second moments that Muon does not keep for the blocks' matrices."""
    if training.optimizer.kind != "muon":
        return 0
    return FP32 * params.linear(model) * model.layers // (training.layout.pipeline * training.layout.tensor)


def checkpoint_bytes(model: ModelConfig, training: TrainingConfig, vocab_size: int) -> int:
    """A Megatron checkpoint: weights, fp32 main parameters of bf16 ones, and moments, each once whatever the layout."""
    whole = training.model_copy(update={"layout": LayoutConfig()})
    state = params.total(model, vocab_size) * (width(training) + ADAM + (FP32 if training.precision == "bf16" else 0))
    return state - _spared(model, whole)


def micro_batches(training: TrainingConfig) -> int:
    """Micro-batches of a step on one rank."""
    return training.global_batch // (training.micro_batch * training.layout.data)


def width(training: TrainingConfig) -> int:
    """Bytes of a weight and of most activations."""
    return 2 if training.precision == "bf16" else FP32


def _sequence_ranks(layout: LayoutConfig) -> int:
    """Among how many ranks the tensors between the matrices are split."""
    return layout.tensor if layout.sequence_parallel else 1


def _block(model: ModelConfig, training: TrainingConfig, device: Device) -> float:
    """Bytes a token that one block keeps for its backward pass."""
    return _block_on_gpu(model, training) if device == "gpu" else _block_on_cpu(model, training)


def _block_on_gpu(model: ModelConfig, training: TrainingConfig) -> float:
    """Inputs of both norms; inputs of the four matrices (one byte in FP8); q, k, v, output and normalisers of attention; SwiGLU's."""
    hidden, ffn, kv = model.hidden_size, model.ffn_hidden_size, model.kv_heads * model.head_size
    wide, tensor = width(training), training.layout.tensor
    fp8 = training.fp8 != "none"
    matrix = 1 if fp8 else wide
    between = 2 * wide * hidden + 2 * matrix * hidden
    attention = wide * (hidden + 2 * kv) + wide * hidden + FP32 * model.attention_heads + (hidden if fp8 else 0)
    swiglu = wide * 2 * ffn + matrix * ffn
    return between / _sequence_ranks(training.layout) + (attention + swiglu) / tensor


def _block_on_cpu(model: ModelConfig, training: TrainingConfig) -> float:
    """As on a GPU, but SwiGLU keeps its unfused steps, attention its input projection, and in short bf16 rows its probabilities."""
    hidden, kv = model.hidden_size, model.kv_heads * model.head_size
    wide, tensor, length = width(training), training.layout.tensor, training.sequence_length
    scores = wide * model.attention_heads * length if _attends_by_products(training) else FP32 * model.attention_heads
    norms = 2 * (2 * wide * hidden + FP32)
    copies = wide * (hidden + kv) + wide * (hidden + 2 * kv) + wide * hidden
    rotary = 4 * wide * model.head_size / training.micro_batch
    return norms / _sequence_ranks(training.layout) + (copies + scores + _kept_by_swiglu(model, training)) / tensor + rotary


def _block_gradients(model: ModelConfig, training: TrainingConfig, device: Device) -> float:
    """Bytes a token of gradients at the height of a block's backward pass: in SwiGLU (of its output, and of both halves), or, where
    a CPU's attention is plain products, there (of probabilities and scores), when SwiGLU's own tensors are gone.
    """
    tensor = training.layout.tensor
    swiglu = width(training) * (2 * model.ffn_hidden_size / tensor + model.hidden_size)
    if device == "gpu" or not _attends_by_products(training):
        return swiglu
    scores = 2 * width(training) * model.attention_heads * training.sequence_length
    return max(swiglu, (scores - _kept_by_swiglu(model, training)) / tensor)


def _attends_by_products(training: TrainingConfig) -> bool:
    return training.precision == "bf16" and training.sequence_length <= PRODUCT_ATTENTION


def _kept_by_swiglu(model: ModelConfig, training: TrainingConfig) -> int:
    """Bytes a token on a CPU: gate, its activation, the other half, their product; in fp32 the gate lies within the whole projection."""
    return width(training) * model.ffn_hidden_size * (4 if training.precision == "bf16" else 5)


def _head(model: ModelConfig, training: TrainingConfig, vocab_size: int, device: Device, tokens: int) -> tuple[float, float]:
    """Bytes that the last norm and the head keep, and bytes that only the loss needs.

    A GPU's loss widens all logits to fp32 (the kept softmax and a copy) and narrows their gradient; a CPU's goes by slices.
    """
    wide, hidden, tensor = width(training), model.hidden_size, training.layout.tensor
    logits = tokens * vocab_size / tensor
    if device == "gpu":
        return tokens * 2 * wide * hidden / _sequence_ranks(training.layout), logits * (2 * wide + 2 * FP32)
    norm = tokens * (2 * wide * hidden + FP32)
    slices = SLICES * FP32 * min(SLICE_ROWS, tokens) * vocab_size if training.precision == "bf16" else 0
    return norm, logits * 2 * wide + slices
