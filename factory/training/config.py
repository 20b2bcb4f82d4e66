"""The recipe's sections of the training room: optimiser, and the four objectives.

Every default suits the laptop recipe: the largest model that learns its domain on two CPU cores within minutes.
Whatever can be known to be wrong without data is refused here, when the recipe is read, not by a rank an hour later.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from factory.errors import SeedmillError
from factory.settings import Section
from factory.training.architecture import LayoutConfig, ModelConfig


class OptimizerConfig(Section):
    """AdamW, or Muon for the block's matrices, with a linear warm-up and a decay towards `min_lr`, which ends as the run does.

    Muon's updates are scaled to the size of AdamW's (Liu et al. 2025, section 2.2), so both take the same rate and decay.
    """

    kind: Literal["adamw", "muon"] = Field(default="adamw", description="muon: blocks' matrices by Muon, all else by AdamW.")
    lr: float = Field(default=4e-3, gt=0, description="Peak learning rate.")
    min_lr: float = Field(default=0.0, ge=0, description="Where the decay ends: the learning rate that a step after the last would have.")
    weight_decay: float = Field(default=0.1, ge=0, description="Decoupled weight decay; norms are exempt.")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam's decay of the first moment.")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="Adam's decay of the second moment.")
    epsilon: float = Field(default=1e-8, gt=0, description="Adam's epsilon.")
    momentum: float = Field(default=0.95, ge=0, lt=1, description="Muon's momentum.")
    clip: float = Field(default=1.0, gt=0, description="Largest global gradient norm.")
    warmup: float = Field(default=0.03, ge=0, lt=1, description="Share of all steps spent warming up.")
    decay: Literal["linear", "cosine", "constant"] = Field(default="linear", description="Shape of the decay after warm-up.")

    @model_validator(mode="after")
    def _floor_below_peak(self) -> Self:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self


class ShadowConfig(Section):
    """How FP8 is held against BF16: the same weights and rows, forward and backward, now and then."""

    first_steps: int = Field(default=10, ge=0, description="The first steps, each of which is compared.")
    every: int = Field(default=200, ge=1, description="Steps between comparisons after those.")
    tolerance: float = Field(default=0.02, gt=0, description="Largest difference of loss, relative to BF16's.")
    norm_tolerance: float = Field(default=0.25, gt=0, description="Largest difference of gradient norm, relative to BF16's.")


class TrainingConfig(Section):
    """What every training stage has. `steps` x `global_batch` x `sequence_length` tokens are processed."""

    micro_batch: int = Field(default=16, ge=1, description="Rows that one rank processes at once.")
    global_batch: int = Field(default=16, ge=1, description="Rows of one optimiser step, over all ranks.")
    sequence_length: int = Field(default=128, ge=8, description="Tokens of one row.")
    optimizer: OptimizerConfig = OptimizerConfig()
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="bf16: bf16 weights with fp32 main parameters and gradients.")
    fp8: Literal["none", "delayed", "tensorwise", "blockwise"] = Field(
        default="none", description="FP8 recipe of Transformer Engine (GPU only)."
    )
    checkpoint_every: int = Field(default=400, ge=1, description="Steps between checkpoints to resume from.")
    max_bad_steps: int = Field(default=5, ge=1, description="Steps in a row with a non-finite loss or gradient before the job gives up.")
    spike: float | None = Field(
        default=None, gt=1, description="Skip a step whose loss or gradient norm is above so many times its median of the last 64 steps."
    )
    shadow: ShadowConfig = ShadowConfig()
    layout: LayoutConfig = LayoutConfig()

    @model_validator(mode="after")
    def _layout_divides(self) -> Self:
        layout = self.layout
        share = self.micro_batch * layout.data
        if self.global_batch % share:
            raise ValueError(
                f"global_batch {self.global_batch} must be a multiple of micro_batch {self.micro_batch} x layout.data {layout.data}"
            )
        if layout.context > 1 and self.sequence_length % (2 * layout.context):
            raise ValueError(f"sequence_length {self.sequence_length} must be a multiple of 2 x layout.context = {2 * layout.context}")
        if layout.sequence_parallel and self.sequence_length % (layout.tensor * layout.context):
            raise ValueError(f"sequence_length {self.sequence_length} must be a multiple of layout.tensor x layout.context")
        if self.fp8 != "none" and self.precision != "bf16":
            raise ValueError(f"fp8 {self.fp8!r} runs over bf16 weights: set precision to bf16")
        return self

    @model_validator(mode="after")
    def _micro_batches_fill_the_pipeline(self) -> Self:
        layout, number = self.layout, self.global_batch // (self.micro_batch * self.layout.data)
        if layout.virtual_stages > 1 and number % layout.pipeline:
            raise ValueError(
                f"virtual stages need a multiple of layout.pipeline {layout.pipeline} micro-batches a step, but there are {number}"
            )
        return self

    @model_validator(mode="after")
    def _muon_needs_whole_matrices(self) -> Self:
        layout = self.layout
        if self.optimizer.kind == "muon" and (layout.tensor > 1 or layout.distributed_optimizer):
            raise ValueError("optimizer.kind muon orthogonalises whole matrices: set layout.tensor to 1 and distributed_optimizer to false")
        return self

    def rows_before(self, step: int) -> int:
        """The rows that steps 0..`step` - 1 read."""
        return step * self.global_batch


class BatchRamp(Section):
    """A batch that grows in equal steps to `global_batch`: small batches learn more from a token early on."""

    start: int = Field(ge=1, description="Rows of the first step.")
    steps: int = Field(ge=1, description="Steps until the batch is whole.")


class MixtureChange(Section):
    """Other shares of the clusters from a step on; rows that were read before are not read again."""

    step: int = Field(ge=1, description="The first step (from 0) with these shares.")
    shares: dict[str, float] = Field(min_length=1, description="Share of each cluster of the blend; they sum to 1.")

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        if abs(sum(self.shares.values()) - 1) > 1e-6 or min(self.shares.values()) < 0:
            raise ValueError(f"shares {self.shares} must be at least 0 and sum to 1")
        return self


class PretrainConfig(TrainingConfig):
    """Next-token prediction on the blend of token shards, from fresh weights or an imported checkpoint."""

    model: ModelConfig = ModelConfig()
    start_from: str | None = Field(default=None, description="The imported checkpoint to go on from; fresh weights when absent.")
    steps: int = Field(default=3400, ge=1, description="Optimiser steps.")
    batch_ramp: BatchRamp | None = Field(default=None, description="Begin with smaller batches; none when absent.")
    mixture_changes: tuple[MixtureChange, ...] = Field(default=(), description="Other shares from given steps on.")
    mask_documents: bool = Field(default=False, description="Let a token attend only within its own document.")

    @model_validator(mode="after")
    def _layout_holds_the_model(self) -> Self:
        try:
            self.layout.check_model(self.model)
        except SeedmillError as error:
            raise ValueError(str(error)) from error
        if self.mask_documents and self.layout.context > 1:
            raise ValueError("mask_documents needs whole sequences on a rank: set layout.context to 1")
        return self

    @model_validator(mode="after")
    def _ramp_divides(self) -> Self:
        ramp, share = self.batch_ramp, self.micro_batch * self.layout.data
        if ramp and (ramp.start % share or ramp.start > self.global_batch):
            raise ValueError(
                f"batch_ramp.start {ramp.start} must be a multiple of micro_batch x layout.data = {share}, "
                f"at most global_batch {self.global_batch}"
            )
        if ramp and self.layout.virtual_stages > 1:
            raise ValueError("batch_ramp changes the number of micro-batches, which virtual stages need as it is: set virtual_stages to 1")
        return self

    @model_validator(mode="after")
    def _changes_in_order(self) -> Self:
        steps = [change.step for change in self.mixture_changes]
        if steps != sorted(set(steps)) or any(step >= self.steps for step in steps):
            raise ValueError(f"mixture_changes must come at rising steps below {self.steps}, not at {steps}")
        return self

    def rows_before(self, step: int) -> int:
        """The rows that steps 0..`step` - 1 read, ramp included."""
        if self.batch_ramp is None:
            return super().rows_before(step)
        growing = min(step, self.batch_ramp.steps)
        return sum(self._ramped(s, self.batch_ramp) for s in range(growing)) + (step - growing) * self.global_batch

    def _ramped(self, step: int, ramp: BatchRamp) -> int:
        share = self.micro_batch * self.layout.data
        return ramp.start + (self.global_batch - ramp.start) * step // (ramp.steps * share) * share


class MidtrainConfig(TrainingConfig):
    """Longer context: the rotary base raised, long documents and recall blended, learning rate a tenth of the peak."""

    start_from: str = Field(default="pretrained_checkpoint", description="The checkpoint asset to go on from.")
    steps: int = Field(default=60, ge=1, description="Optimiser steps.")
    rope_base: float = Field(default=40_000.0, gt=1, description="Base of the rotary position frequencies from here on.")
    micro_batch: int = Field(default=4, ge=1, description="Rows that one rank processes at once.")
    global_batch: int = Field(default=4, ge=1, description="Rows of one optimiser step, over all ranks.")
    sequence_length: int = Field(default=512, ge=8, description="Tokens of one row: four times that of pretraining.")
    optimizer: OptimizerConfig = OptimizerConfig(lr=4e-4)
    mask_documents: bool = Field(default=False, description="Let a token attend only within its own document.")

    @model_validator(mode="after")
    def _whole_rows_where_documents_are_masked(self) -> Self:
        if self.mask_documents and self.layout.context > 1:
            raise ValueError("mask_documents needs whole sequences on a rank: set layout.context to 1")
        return self


class PackedConfig(TrainingConfig):
    """A stage that packs whole examples into rows, with no attention between them."""

    epochs: int = Field(default=1, ge=1, description="Times that every example is seen; ignored where `steps` is set.")
    steps: int | None = Field(default=None, ge=1, description="Optimiser steps, instead of epochs.")

    @model_validator(mode="after")
    def _whole_rows(self) -> Self:
        if self.layout.context > 1:
            raise ValueError("packed examples need whole sequences on a rank: set layout.context to 1")
        return self


class SftConfig(PackedConfig):
    """Supervised fine-tuning: loss on the assistant's tokens only."""

    start_from: str = Field(default="midtrained_checkpoint", description="The checkpoint asset to go on from.")
    conversations: str = Field(default="sft_conversations", description="The asset that holds the conversations.")
    leave_out: tuple[str, ...] = Field(default=(), description="Domains whose conversations are dropped and counted, such as `refusal`.")
    epochs: int = Field(default=2, ge=1, description="Times that every conversation is seen; ignored where `steps` is set.")
    micro_batch: int = Field(default=8, ge=1, description="Packed rows that one rank processes at once.")
    global_batch: int = Field(default=8, ge=1, description="Packed rows of one optimiser step, over all ranks.")
    sequence_length: int = Field(default=256, ge=8, description="Tokens of one packed row; longer conversations are dropped and counted.")
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3)


class DpoConfig(PackedConfig):
    """Direct preference optimisation (Rafailov et al. 2023, eq. 7), on single-token or full-response pairs alike."""

    start_from: str = Field(default="sft_checkpoint", description="The checkpoint asset to go on from, which is the reference too.")
    pairs: str = Field(default="pivotal_pairs", description="The asset that holds the pairs.")
    beta: float = Field(default=0.2, gt=0, description="Strength of the pull towards the reference.")
    nll_weight: float = Field(default=0.0, ge=0, description="Weight of the chosen response's negative log-likelihood per token.")
    epochs: int = Field(default=2, ge=1, description="Times that every pair is seen; ignored where `steps` is set.")
    micro_batch: int = Field(default=8, ge=1, description="Packed rows that one rank processes at once.")
    global_batch: int = Field(default=16, ge=1, description="Packed rows of one optimiser step, over all ranks; a row holds whole pairs.")
    sequence_length: int = Field(default=256, ge=8, description="Tokens of one packed row; a pair takes both its sequences.")
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-4, weight_decay=0.0)

    @model_validator(mode="after")
    def _reference_takes_single_batches(self) -> Self:
        if self.layout.virtual_stages > 1:
            raise ValueError("the reference runs over single micro-batches, which virtual stages do not take: set virtual_stages to 1")
        return self


class ImportConfig(Section):
    """A Hugging Face checkpoint that training starts from instead of fresh weights."""

    folder: str = Field(description="The folder with config.json and *.safetensors: Phi-3/Phi-4 or Llama shapes.")
    license: str = Field(description="Under what licence its weights may be used.")
