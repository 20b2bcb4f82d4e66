"""What every training stage leaves: the Megatron checkpoint, the Hugging Face weights, the metrics, and who was read when."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from factory.context import Context
from factory.records import Record
from factory.training import checkpoint, convert
from factory.training.architecture import ModelConfig
from factory.training.config import TrainingConfig
from factory.training.distributed import is_main
from factory.training.rows import Rows
from factory.training.trainer import Trainer, write_metrics

EXPOSURE = pa.schema(
    [
        pa.field("asset", pa.string(), nullable=False),
        pa.field("first_step", pa.int32(), nullable=False),
        pa.field("last_step", pa.int32(), nullable=False),
        pa.field("items", pa.list_(pa.int32()), nullable=False),
        pa.field("rows", pa.int32(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ]
)
"""What steps `first_step`..`last_step` (inclusive, counted from 1) read of `asset`: `items` are indices in its stored order
(documents of a shard's `index`, conversations, pairs); an item read twice within the span is named once, or twice if packed."""

SPANS = 64


@dataclass(frozen=True)
class Vocabulary:
    """The size of the embedding and the ids of the special tokens, from the tokenizer's `spec.json`."""

    size: int
    special: dict[str, int]

    @classmethod
    def of(cls, context: Context) -> "Vocabulary":
        """Read it from the job's tokenizer input."""
        spec: dict[str, Any] = context.inputs["tokenizer"].json("spec.json")
        return cls(spec["vocab_size"], spec["special_tokens"])

    @property
    def eod(self) -> int:
        """The end-of-document token."""
        return self.special["<|endoftext|>"]


def write(
    context: Context, trainer: Trainer, training: TrainingConfig, model: ModelConfig, vocabulary: Vocabulary, *, positions: int
) -> None:
    """Write and register all outputs; every rank calls it, rank 0 writes what is not sharded."""
    folder = context.out / "mcore"
    trainer.save(folder)
    if not is_main():
        return
    context.add_checkpoint("mcore", digest=checkpoint.digest(folder, trainer.counters), tokens=trainer.counters.tokens)
    stacked = ((name.removeprefix(checkpoint.MODEL_PREFIX), t) for name, t in checkpoint.tensors(folder, checkpoint.MODEL_PREFIX))
    dtype = "bfloat16" if training.precision == "bf16" else "float32"
    settings = convert.config(model, vocab_size=vocabulary.size, positions=positions, dtype=dtype, special_tokens=vocabulary.special)
    convert.write(context.out / "hf", convert.to_hugging_face(stacked, model), settings)
    context.add_file("hf")
    write_metrics(context.out / "metrics.jsonl", trainer.metrics)
    context.add_file("metrics.jsonl", rows=len(trainer.metrics))
    context.write_records("exposure", exposure(trainer.rows, trainer.steps, training), EXPOSURE)
    context.made("steps", trainer.steps)
    context.made("tokens", trainer.counters.tokens)


def exposure(rows: Rows, steps: int, training: TrainingConfig) -> Iterator[Record]:
    """The exposure records of a run, in about `SPANS` spans of steps."""
    span = -(-steps // SPANS)
    for first in range(0, steps, span):
        last = min(first + span, steps)
        for record in rows.items(range(training.rows_before(first), training.rows_before(last))):
            yield {"first_step": first + 1, "last_step": last, **record}
