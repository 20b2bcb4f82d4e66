"""Weights between Megatron-core's names and layout and those of Hugging Face's `Phi3ForCausalLM`.

Megatron's checkpoints stack a tensor of all layers along a first axis, and lay queries, keys and values out group by group;
Phi-3 has one tensor a layer, with all queries first. Gate and up projections come in the same order in both.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from factory.errors import SeedmillError
from factory.training.architecture import ModelConfig

WHOLE = {
    "embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "decoder.final_layernorm.weight": "model.norm.weight",
    "output_layer.weight": "lm_head.weight",
}
IN_LAYER = {
    "self_attention.linear_qkv.weight": "self_attn.qkv_proj.weight",
    "self_attention.linear_proj.weight": "self_attn.o_proj.weight",
    "mlp.linear_fc1.weight": "mlp.gate_up_proj.weight",
    "mlp.linear_fc2.weight": "mlp.down_proj.weight",
    "input_layernorm.weight": "input_layernorm.weight",
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "pre_mlp_layernorm.weight": "post_attention_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "post_attention_layernorm.weight",
}
FP8_STATE = "_extra_state"
QKV = "self_attn.qkv_proj.weight"


def to_hugging_face(stacked: Iterable[tuple[str, torch.Tensor]], model: ModelConfig) -> dict[str, torch.Tensor]:
    """`Phi3ForCausalLM`'s state from the tensors of a Megatron checkpoint (layers stacked, without the `model.` prefix)."""
    state = {}
    for name, tensor in stacked:
        if name in WHOLE:
            state[WHOLE[name]] = tensor
            continue
        target = IN_LAYER[name.removeprefix("decoder.layers.")]
        for layer, weight in enumerate(tensor):
            state[f"model.layers.{layer}.{target}"] = (_queries_first(weight, model) if target == QKV else weight).contiguous()
    return state


def from_hugging_face(state: Mapping[str, torch.Tensor], model: ModelConfig, own: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The state of an unsharded Megatron `GPTModel` from `Phi3ForCausalLM`'s, under the names of `own`, the state it has now.

    The names tell the layers: Transformer Engine's hold their norms within the projections that follow, local ones beside them.
    Raises `SeedmillError` when a tensor is missing, too many, or of another shape.
    """
    left, out = dict(state), {}
    for name, value in own.items():
        if name.endswith(FP8_STATE):
            continue
        source = _in_hugging_face(name)
        if source not in left:
            raise SeedmillError(f"the checkpoint has no {source}: it is not whole, or not of Phi-3's or Llama's shape")
        tensor = left.pop(source)
        if tensor.shape != value.shape:
            raise SeedmillError(f"{source} has the shape {[*tensor.shape]} where config.json asks for {[*value.shape]}: mend config.json")
        out[name] = _groups_first(tensor, model) if source.endswith(QKV) else tensor
    if left:
        raise SeedmillError(f"the checkpoint has tensors that the trainer's model does not: {', '.join(sorted(left)[:5])}")
    return out


def _in_hugging_face(name: str) -> str:
    if name in WHOLE:
        return WHOLE[name]
    layer, _, rest = name.removeprefix("decoder.layers.").partition(".")
    return f"model.layers.{layer}.{IN_LAYER[rest]}"


def config(model: ModelConfig, *, vocab_size: int, positions: int, dtype: str, special_tokens: Mapping[str, int]) -> dict[str, Any]:
    """`config.json` of `Phi3ForCausalLM`: what loads the weights in Transformers, vLLM and llama.cpp alike."""
    return {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "vocab_size": vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.attention_heads,
        "num_key_value_heads": model.kv_heads,
        "max_position_embeddings": positions,
        "original_max_position_embeddings": positions,
        "rope_theta": model.rope_base,
        "rope_scaling": None,
        "partial_rotary_factor": 1.0,
        "rms_norm_eps": model.norm_epsilon,
        "initializer_range": model.embedding_std,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_cache": True,
        "torch_dtype": dtype,
        "bos_token_id": special_tokens["<|endoftext|>"],
        "eos_token_id": special_tokens["<|endoftext|>"],
        "pad_token_id": special_tokens["<|pad|>"],
    }


def shape_of(config: Mapping[str, Any]) -> ModelConfig:
    """The model section that a `config.json` describes."""
    return ModelConfig(
        layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        ffn_hidden_size=config["intermediate_size"],
        attention_heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        rope_base=config["rope_theta"],
        norm_epsilon=config["rms_norm_eps"],
        embedding_std=config["initializer_range"],
    )


def write(folder: Path, state: dict[str, torch.Tensor], settings: Mapping[str, Any]) -> None:
    """Write `config.json` and `model.safetensors` into a new folder."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _queries_first(weight: torch.Tensor, model: ModelConfig) -> torch.Tensor:
    """[groups x (queries, key, value) x head, hidden] -> [all queries | all keys | all values, hidden]."""
    per_group, head = model.attention_heads // model.kv_heads, model.head_size
    grouped = weight.view(model.kv_heads, per_group + 2, head, -1)
    return torch.cat([part.reshape(-1, weight.shape[1]) for part in grouped.split([per_group, 1, 1], dim=1)])


def _groups_first(weight: torch.Tensor, model: ModelConfig) -> torch.Tensor:
    """The inverse of `_queries_first`."""
    per_group, head, groups = model.attention_heads // model.kv_heads, model.head_size, model.kv_heads
    queries, keys, values = weight.split([model.attention_heads * head, groups * head, groups * head])
    parts = [queries.view(groups, per_group, head, -1), keys.view(groups, 1, head, -1), values.view(groups, 1, head, -1)]
    return torch.cat(parts, dim=1).reshape(weight.shape)
