"""What the four stages share: an earlier checkpoint to start from, and the run from a ready trainer to written outputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from factory.context import Context
from factory.errors import SeedmillError
from factory.training import checkpoint, convert, model, outputs
from factory.training.architecture import ModelConfig
from factory.training.config import TrainingConfig
from factory.training.megatron import HAS_GPU
from factory.training.model import Chunks
from factory.training.outputs import Vocabulary
from factory.training.rows import Rows
from factory.training.trainer import Objective, Trainer

TrainingT = TypeVar("TrainingT", bound=TrainingConfig)


@dataclass(frozen=True)
class Parent:
    """The checkpoint that a stage starts from."""

    asset: str
    digest: str
    folder: Path
    shape: ModelConfig
    positions: int
    window: int | None = None
    """The sliding window of an imported model: over rows that are no longer, it attends as the trainer's model does."""

    @classmethod
    def of(cls, context: Context, asset: str) -> "Parent":
        """Open the input called `asset`; raises `SeedmillError` when the job has no such input."""
        if asset not in context.inputs:
            raise SeedmillError(f"start_from {asset!r} is not among the inputs of {context.spec.asset}: {sorted(context.inputs)}")
        source = context.inputs[asset]
        settings = source.json("hf/config.json")
        window, positions = settings.get("sliding_window"), settings["max_position_embeddings"]
        return cls(asset, source.digest, source.file("mcore"), convert.shape_of(settings), min(positions, window or positions), window)


def section(context: Context, kind: type[TrainingT]) -> TrainingT:
    """The stage's section; raises `SeedmillError` where this machine, or these inputs together, would do something else than it says."""
    found = context.section(kind)
    _check_tokenizer(context)
    if found.fp8 != "none" and not HAS_GPU:
        raise SeedmillError(f"{context.spec.asset}: fp8 is {found.fp8!r}, but there is no GPU here: set fp8 to none, or run it on a GPU")
    return found


def _check_tokenizer(context: Context) -> None:
    """Ids of another tokenizer of the same size would be trained on without a word."""
    ours = context.inputs["tokenizer"].digest
    for source in context.inputs.values():
        theirs = source.made_from.get("tokenizer", ours)
        if theirs != ours:
            raise SeedmillError(
                f"{source.asset} was made with the tokenizer {theirs:.16}, but this job has {ours:.16}: build {source.asset} with it"
            )


def build(training: TrainingConfig, shape: ModelConfig, vocabulary: Vocabulary, parent: Parent | None = None) -> Chunks:
    """The model with `parent`'s weights or fresh ones, once the layout is known to hold it and its vocabulary."""
    training.layout.check_model(shape)
    if vocabulary.size % training.layout.tensor:
        raise SeedmillError(f"layout.tensor {training.layout.tensor} does not divide the vocabulary {vocabulary.size}: choose a divisor")
    if parent is not None and parent.window is not None and training.sequence_length > parent.window:
        raise SeedmillError(
            f"{parent.asset} attends over a sliding window of {parent.window} tokens, which the trainer's model does not have: "
            f"set sequence_length {training.sequence_length} to at most {parent.window}"
        )
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
