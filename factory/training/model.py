"""The model: a Megatron-core GPT of the Phi-3/Phi-4 family, with Transformer Engine layers on a GPU and local ones without."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from factory.training import fused
from factory.training.architecture import ModelConfig
from factory.training.attention import ScaledDotProductAttention
from factory.training.config import TrainingConfig
from factory.training.cross_entropy import cross_entropy
from factory.training.megatron import (
    DEVICE,
    HAS_GPU,
    DistributedDataParallel,
    DistributedDataParallelConfig,
    Float16Module,
    GPTModel,
    TransformerBlockSubmodules,
    TransformerConfig,
    finalize_model_grads,
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
    get_num_layers_to_build,
    parallel_state,
)

Chunks = list[DistributedDataParallel]
"""The pieces of the model on this rank: one, or as many as the layout has virtual stages."""


class RMSNorm(torch.nn.RMSNorm):
    """Torch's RMSNorm, in one function; Megatron finds by the weight's mark what to sum under sequence parallelism."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: Any) -> None:
        super().__init__(hidden_size, eps=eps)
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]
        self.epsilon = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise over the last axis."""
        return fused.rms_norm(x, self.weight, self.epsilon)


def build(model: ModelConfig, training: TrainingConfig, vocab_size: int) -> Chunks:
    """The model of this rank with fresh weights, wrapped for mixed precision and data parallelism."""
    config, layout = transformer_config(model, training), training.layout
    stages = range(layout.virtual_stages) if layout.virtual_stages > 1 else (None,)
    chunks = [_chunk(model, training, config, vocab_size, stage) for stage in stages]
    config.finalize_model_grads_func = finalize_model_grads
    if layout.overlap:
        waiting = [chunk.no_sync for chunk in chunks]
        config.no_sync_func = waiting if len(chunks) > 1 else waiting[0]  # type: ignore[assignment]
    return chunks


def _chunk(
    model: ModelConfig, training: TrainingConfig, config: TransformerConfig, vocab_size: int, stage: int | None
) -> DistributedDataParallel:
    """One wrapped piece of the model; `stage` is its virtual stage, where there are several."""
    gpt: torch.nn.Module = GPTModel(
        config=config,
        transformer_layer_spec=_layers(config, stage),
        vocab_size=vocab_size,
        max_sequence_length=training.sequence_length,
        pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=stage),
        post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=stage),
        position_embedding_type="rope",
        rotary_base=model.rope_base,  # type: ignore[arg-type]
        share_embeddings_and_output_weights=False,
        vp_stage=stage,
    ).to(DEVICE)
    _initialise_head(gpt, model)
    if not HAS_GPU and training.layout.tensor == 1:
        gpt.compute_language_model_loss = cross_entropy  # type: ignore[method-assign, assignment]
    if config.bf16:
        gpt = Float16Module(config, gpt)
    layout = training.layout
    settings = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        use_distributed_optimizer=layout.distributed_optimizer,
        overlap_grad_reduce=layout.overlap,
        overlap_param_gather=layout.overlap and layout.distributed_optimizer,
    )
    return DistributedDataParallel(config, settings, gpt, disable_bucketing=bool(stage))


def gather_parameters(chunks: Chunks) -> None:
    """Finish the gathering of sharded parameters, which otherwise waits for the next forward pass; every rank calls it."""
    for chunk in chunks:
        if chunk.ddp_config.overlap_param_gather:
            chunk.start_param_sync(force_sync=True)


def unwrap(module: torch.nn.Module | Chunks) -> GPTModel:
    """The bare model under its wrappers, of an only chunk; checkpoints are taken from it, because wrappers prefix every name."""
    if isinstance(module, list):
        (module,) = module
    while hasattr(module, "module"):
        module = module.module  # type: ignore[assignment]
    assert isinstance(module, GPTModel)
    return module


def transformer_config(model: ModelConfig, training: TrainingConfig) -> TransformerConfig:
    """Megatron's view of the two sections; fusions are Transformer Engine's and wait for a GPU."""
    layout, bf16 = training.layout, training.precision == "bf16"
    dtype = torch.bfloat16 if bf16 else torch.float32
    recompute = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1} if layout.recompute else {}
    return TransformerConfig(
        num_layers=model.layers,
        hidden_size=model.hidden_size,
        num_attention_heads=model.attention_heads,
        num_query_groups=model.kv_heads,
        ffn_hidden_size=model.ffn_hidden_size,
        normalization="RMSNorm",
        layernorm_epsilon=model.norm_epsilon,
        gated_linear_unit=True,
        activation_func=F.silu if HAS_GPU else _silu,
        add_bias_linear=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        init_method_std=model.init_std,
        embedding_init_method_std=model.embedding_std,
        use_cpu_initialization=not HAS_GPU,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=bf16,
        calculate_per_token_loss=True,
        gradient_accumulation_fusion=False,
        bias_dropout_fusion=HAS_GPU,
        bias_activation_fusion=HAS_GPU,
        masked_softmax_fusion=HAS_GPU,
        apply_rope_fusion=HAS_GPU,
        cross_entropy_loss_fusion=HAS_GPU,
        batch_p2p_comm=HAS_GPU,
        tensor_model_parallel_size=layout.tensor,
        pipeline_model_parallel_size=layout.pipeline,
        virtual_pipeline_model_parallel_size=layout.virtual_stages if layout.virtual_stages > 1 else None,
        context_parallel_size=layout.context,
        sequence_parallel=layout.sequence_parallel,
        **recompute,
        **_fp8(training.fp8),
    )


def _silu(gate: torch.Tensor) -> torch.Tensor:
    """SiLU of half a projection: in bf16, torch vectorises it over contiguous memory alone."""
    return F.silu(gate.contiguous() if gate.dtype is torch.bfloat16 else gate)


def _fp8(recipe: str) -> dict[str, Any]:
    """Transformer Engine's FP8 settings; `delayed` scales by the largest of the last 1,024 steps' maxima."""
    if recipe == "none":
        return {}
    settings: dict[str, Any] = {"fp8": "e4m3" if recipe == "blockwise" else "hybrid", "fp8_recipe": recipe}
    if recipe == "delayed":
        settings |= {"fp8_amax_history_len": 1024, "fp8_amax_compute_algo": "max"}
    return settings


def _layers(config: TransformerConfig, stage: int | None) -> Any:
    if HAS_GPU:
        return get_gpt_layer_with_transformer_engine_spec()
    layer: Any = get_gpt_layer_local_spec(normalization="RMSNorm")
    layer.submodules.self_attention.submodules.core_attention = ScaledDotProductAttention
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    return TransformerBlockSubmodules(layer_specs=[layer] * get_num_layers_to_build(config, stage), layer_norm=RMSNorm)  # type: ignore[arg-type]


def _initialise_head(gpt: torch.nn.Module, model: ModelConfig) -> None:
    """Scale the untied head from the block deviation, which Megatron gives it, to the embedding's."""
    if getattr(gpt, "post_process", False):
        with torch.no_grad():
            gpt.output_layer.weight.mul_(model.embedding_std / model.init_std)  # type: ignore[union-attr]
