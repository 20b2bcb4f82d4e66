"""The recipe's sections that say what a model is made of, and how ranks share it."""

from typing import Self

from pydantic import Field, model_validator

from factory.errors import SeedmillError
from factory.settings import Section


class ModelConfig(Section):
    """A decoder of the Phi-3/Phi-4 family: RMSNorm, SwiGLU, full rotary positions, grouped-query attention, untied head."""

    layers: int = Field(default=3, ge=1, description="Transformer blocks.")
    hidden_size: int = Field(default=128, ge=8, description="Width of the residual stream.")
    ffn_hidden_size: int = Field(default=352, ge=8, description="Width of the SwiGLU feed-forward.")
    attention_heads: int = Field(default=4, ge=1, description="Query heads.")
    kv_heads: int = Field(default=2, ge=1, description="Key and value heads (grouped-query attention).")
    rope_base: float = Field(default=10_000.0, gt=1, description="Base of the rotary position frequencies.")
    norm_epsilon: float = Field(default=1e-5, gt=0, description="Epsilon of RMSNorm.")
    init_std: float = Field(
        default=0.02, gt=0, description="Deviation of initial block weights; what writes to the residual gets it over sqrt(2 layers)."
    )
    embedding_std: float = Field(default=0.02, gt=0, description="Deviation of initial embedding and head weights.")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % (2 * self.attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 2 x attention_heads {self.attention_heads} (rotary needs even heads)"
            )
        if self.attention_heads % self.kv_heads:
            raise ValueError(f"attention_heads {self.attention_heads} must be a multiple of kv_heads {self.kv_heads}")
        return self

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.attention_heads


class LayoutConfig(Section):
    """How ranks share the work: world size = tensor x pipeline x context x data."""

    tensor: int = Field(default=1, ge=1, description="Ranks that split every matrix.")
    pipeline: int = Field(default=1, ge=1, description="Ranks that split the layers.")
    context: int = Field(default=1, ge=1, description="Ranks that split each sequence.")
    data: int = Field(default=1, ge=1, description="Replicas that split the batch.")
    virtual_stages: int = Field(default=1, ge=1, description="Pieces of the model on each pipeline rank (interleaved schedule).")
    sequence_parallel: bool = Field(default=False, description="Split norms and residuals along the sequence among tensor ranks.")
    distributed_optimizer: bool = Field(default=False, description="Shard optimiser state among data ranks (ZeRO-1).")
    overlap: bool = Field(default=False, description="Reduce gradients (and gather sharded parameters) while computing.")
    recompute: bool = Field(default=False, description="Recompute activations in the backward pass instead of keeping them.")

    @property
    def world_size(self) -> int:
        """The number of processes that a job with this layout has."""
        return self.tensor * self.pipeline * self.context * self.data

    @model_validator(mode="after")
    def _sequence_parallel_needs_tensor(self) -> Self:
        if self.sequence_parallel and self.tensor == 1:
            raise ValueError("sequence_parallel splits among tensor ranks, but tensor is 1: raise tensor or turn it off")
        return self

    @model_validator(mode="after")
    def _virtual_stages_need_a_pipeline(self) -> Self:
        if self.virtual_stages > 1 and self.pipeline == 1:
            raise ValueError(
                f"virtual_stages {self.virtual_stages} interleave pipeline ranks, but pipeline is 1: raise pipeline or leave them at 1"
            )
        return self

    def check_model(self, model: ModelConfig) -> None:
        """Raise `SeedmillError` when this layout cannot hold `model`."""
        for what, size, ranks, field in (
            ("attention_heads", model.attention_heads, self.tensor, "tensor"),
            ("kv_heads", model.kv_heads, self.tensor, "tensor"),
            ("ffn_hidden_size", model.ffn_hidden_size, self.tensor, "tensor"),
            ("layers", model.layers, self.pipeline, "pipeline"),
            ("layers", model.layers, self.pipeline * self.virtual_stages, "pipeline x virtual_stages ="),
        ):
            if size % ranks:
                raise SeedmillError(f"layout.{field} {ranks} does not divide the model's {what} {size}: choose a divisor")
