"""An earlier model of others as an artefact: a Hugging Face checkpoint of Phi-3's or Llama's shape, as training starts from it.

Its place in the lineage is that of a source: the artefact's version comes from the folder's content, and everything trained from
it has it upstream. Llama's separate projections are joined to Phi-3's, which is the same arithmetic.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from factory.context import Context
from factory.errors import SeedmillError
from factory.training import checkpoint, convert, model
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import ImportConfig, PretrainConfig
from factory.training.distributed import joined
from factory.training.import_source import checkpoint_files
from factory.training.outputs import Vocabulary

SHAPES = ("phi3", "llama")
JOINED = {
    "self_attn.qkv_proj.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "mlp.gate_up_proj.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
}
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def run(context: Context) -> None:
    """Input: tokenizer. Outputs: mcore (weights alone), hf. Raises on a shape or a vocabulary that training could not go on with."""
    section = context.section(ImportConfig)
    folder, vocabulary = Path(section.folder), Vocabulary.of(context)
    settings, state = read(folder)
    shape = convert.shape_of(settings)
    if settings["vocab_size"] != vocabulary.size:
        raise SeedmillError(
            f"{folder} has {settings['vocab_size']} token ids but the tokenizer {vocabulary.size}: train with the tokenizer of that model"
        )
    positions = settings["max_position_embeddings"]
    written = convert.config(shape, vocab_size=vocabulary.size, positions=positions, dtype="float32", special_tokens=vocabulary.special)
    convert.write(context.out / "hf", state, written | {"sliding_window": settings.get("sliding_window")})
    context.add_file("hf")
    _write_megatron(context, shape, state, vocabulary)
    context.metrics.update(parameters=sum(t.numel() for t in state.values()), license=section.license)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """`config.json` and the weights under Phi-3's names, fp32; raises `SeedmillError` on what is not such a model."""
    files = checkpoint_files(folder)
    try:
        settings = _flat(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        _check(folder, settings)
        state = {name: tensor.float() for path in files if path.suffix == ".safetensors" for name, tensor in load_file(path).items()}
    except (ValueError, KeyError, SafetensorError) as error:
        raise SeedmillError(f"{folder} cannot be read ({type(error).__name__}: {error}): fetch the checkpoint again") from error
    return settings, as_phi3(state, settings)


def as_phi3(state: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights under Phi-3's names: projections joined, and an untied head where embedding and head were one."""
    out = dict(state)
    for layer in range(settings["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, parts in JOINED.items():
            if all(prefix + part in out for part in parts):
                out[prefix + name] = torch.cat([out.pop(prefix + part) for part in parts])
    if settings.get("tie_word_embeddings") and HEAD not in out and EMBEDDING in out:
        out[HEAD] = out[EMBEDDING].clone()
    return out


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with those of rotary positions at the top, where Transformers before version 5 has them."""
    rotary = dict(settings.get("rope_parameters") or {})
    scaled = rotary.pop("rope_type", "default") != "default"
    return {"rope_theta": 10_000.0, "initializer_range": 0.02, **settings, **rotary, **({"rope_scaling": rotary} if scaled else {})}


def _check(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse what the trainer's model cannot compute."""
    kind = settings.get("model_type")
    if kind not in SHAPES:
        raise SeedmillError(f"{folder} is a model of type {kind!r}: only {', '.join(SHAPES)} shapes can be imported")
    head = settings.get("head_dim") or settings["hidden_size"] // settings["num_attention_heads"]
    for name, value, wanted in (
        ("rope_scaling", settings.get("rope_scaling"), None),
        ("partial_rotary_factor", settings.get("partial_rotary_factor", 1.0), 1.0),
        ("attention_bias", settings.get("attention_bias", False), False),
        ("mlp_bias", settings.get("mlp_bias", False), False),
        ("hidden_act", settings.get("hidden_act"), "silu"),
        ("head_dim", head, settings["hidden_size"] // settings["num_attention_heads"]),
    ):
        if value != wanted:
            raise SeedmillError(f"{folder}: {name} is {value!r}, and the trainer's model has {wanted!r}: it cannot be imported")


def _write_megatron(context: Context, shape: ModelConfig, state: dict[str, torch.Tensor], vocabulary: Vocabulary) -> None:
    with joined(LayoutConfig(), context.seed("weights")):
        gpt = model.build(shape, PretrainConfig(model=shape, precision="fp32"), vocabulary.size)
        own = model.unwrap(gpt).state_dict()
        model.unwrap(gpt).load_state_dict({**own, **convert.from_hugging_face(state, shape, own)})
        folder = context.out / "mcore"
        folder.mkdir()
        checkpoint.save_weights(folder, gpt)
    context.add_checkpoint("mcore", digest=checkpoint.digest(folder, checkpoint.Counters()))
