"""What the four stages share: an earlier checkpoint to start from, and the run from a ready trainer to written outputs."""

from dataclasses import dataclass
from pathlib import Path

from factory.context import Context
from factory.errors import SeedmillError
from factory.training import checkpoint, convert, model, outputs
from factory.training.config import ModelConfig, TrainingConfig
from factory.training.model import Chunks
from factory.training.outputs import Vocabulary
from factory.training.rows import Rows
from factory.training.trainer import Objective, Trainer


@dataclass(frozen=True)
class Parent:
    """The checkpoint that a stage starts from."""

    asset: str
    digest: str
    folder: Path
    shape: ModelConfig
    positions: int

    @classmethod
    def of(cls, context: Context, asset: str) -> "Parent":
        """Open the input called `asset`; raises `SeedmillError` when the job has no such input."""
        if asset not in context.inputs:
            raise SeedmillError(f"start_from {asset!r} is not among the inputs of {context.spec.asset}: {sorted(context.inputs)}")
        source = context.inputs[asset]
        settings = source.json("hf/config.json")
        return cls(asset, source.digest, source.file("mcore"), convert.shape_of(settings), settings["max_position_embeddings"])


def build(training: TrainingConfig, shape: ModelConfig, vocabulary: Vocabulary, parent: Parent | None = None) -> Chunks:
    """The model with `parent`'s weights or fresh ones, once the layout is known to hold it and its vocabulary."""
    training.layout.check_model(shape)
    if vocabulary.size % training.layout.tensor:
        raise SeedmillError(f"layout.tensor {training.layout.tensor} does not divide the vocabulary {vocabulary.size}: choose a divisor")
    gpt = model.build(shape, training, vocabulary.size)
    if parent is not None:
        checkpoint.load_weights(parent.folder, gpt)
    return gpt


def train(
    context: Context,
    training: TrainingConfig,
    shape: ModelConfig,
    gpt: Chunks,
    vocabulary: Vocabulary,
    *,
    rows: Rows,
    objective: Objective,
    steps: int,
    parent: Parent | None = None,
) -> None:
    """Train `steps` steps, from `parent`'s weights if there is one, and write the outputs; every rank calls it."""
    trainer = Trainer(context, training, shape, gpt, rows=rows, objective=objective, steps=steps, vocab_size=vocabulary.size)
    trainer.run()
    positions = max(training.sequence_length, parent.positions if parent else 0)
    outputs.write(context, trainer, training, shape, vocabulary, positions=positions)
