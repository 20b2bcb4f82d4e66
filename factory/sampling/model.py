"""The forward pass of a Phi-3 shaped model in plain torch, straight from its Hugging Face folder.

Decoding a small model is bound by the overhead around the arithmetic, so this keeps nothing between the weights and the
matrix products: no module tree, no masks built twice, the weights of norms folded into the projections that follow them, the
rotation of queries and keys in three operations. Names of weights are those of Hugging Face's Phi3.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file

from factory.errors import SeedmillError
from factory.sampling.cache import Cache, whole_steps


@dataclass(frozen=True)
class Shape:
    """The sizes of a model, from its config.json."""

    vocab: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_base: float
    norm_eps: float
    positions: int

    @classmethod
    def of(cls, config: dict[str, Any], folder: Path) -> "Shape":
        """Read a Phi3 configuration; raises on what this forward pass does not do."""
        refuse(config, folder)
        heads = config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // heads
        rope = {**config, **(config.get("rope_parameters") or {})}
        return cls(
            vocab=config["vocab_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=head_dim,
            rope_base=float(rope.get("rope_theta", 10_000.0)),
            norm_eps=config.get("rms_norm_eps", 1e-5),
            positions=config["max_position_embeddings"],
        )


def refuse(config: dict[str, Any], folder: Path) -> None:
    """Raise when the configuration asks for a model that would come out wrong here."""
    kind, window = config.get("model_type"), config.get("sliding_window")
    settings = {**config, **(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    rope, rotated = settings.get("rope_type", "default"), settings.get("partial_rotary_factor", 1.0)
    if kind != "phi3":
        raise SeedmillError(f"{folder}: model_type is {kind!r}; the local engine runs phi3 models")
    if window is not None:
        raise SeedmillError(f"{folder}: sliding_window is {window}; the local engine attends to the whole context, so set it to null")
    if rope != "default":
        raise SeedmillError(f"{folder}: rope_type is {rope!r}; the local engine knows only 'default' (raise rope_theta instead)")
    if rotated != 1.0:
        raise SeedmillError(
            f"{folder}: partial_rotary_factor is {rotated}; the local engine rotates whole heads, as phi-4 does: set it to 1"
        )


class Projection:
    """x W^T, with W in the layout that the CPU library's own kernels want: in float32 twice as fast as `F.linear`, which calls another.

    Where torch was built without that library (oneDNN), it is `F.linear`.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self._packs = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self._packs else weight

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Of rows [..., inputs], [..., outputs]."""
        if self._packs:
            return torch.ops.mkldnn._linear_pointwise(rows, self._weight, None, "none", [], "")
        return F.linear(rows, self._weight)


@dataclass(frozen=True)
class Layer:
    """The projections of one block; `qkv` and `gate_up` hold the weights of the norms before them, `qkv` the scale of attention too."""

    qkv: Projection
    attention_out: Projection
    gate_up: Projection
    down: Projection


class Phi3:
    """Weights and the two passes over them: `prefill` for whole prompts, `decode` for one more token of each sequence."""

    def __init__(self, shape: Shape, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
        self.shape = shape
        self.embedding = weights["model.embed_tokens.weight"].to(dtype)
        head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
        self.head = fold(weights["model.norm.weight"], head, dtype)
        self.layers = [_layer(shape, weights, f"model.layers.{number}.", dtype) for number in range(shape.layers)]
        self.cos, self.sin = (table.to(self.device, dtype) for table in _rotations(shape))

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, device: torch.device, positions: int | None = None) -> "Phi3":
        """Read `config.json` and `model.safetensors`, cast to `dtype`, onto `device`; `positions` raises the longest sequence."""
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).exists():
                raise SeedmillError(f"{folder} holds no {name}: a checkpoint's `hf` folder is needed")
        shape = Shape.of(json.loads((folder / "config.json").read_text(encoding="utf-8")), folder)
        shape = replace(shape, positions=max(shape.positions, positions or 0))
        weights = load_file(folder / "model.safetensors")
        return cls(shape, {name: weight.to(device) for name, weight in weights.items()}, dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of all matrix products."""
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.device

    def prefill(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run whole sequences, [B, T] int64, padded on the right (causal, so the padding changes nothing before it).

        Returns hidden states [B, T, hidden], keys [layers, B, kv_heads, head_dim, T] and values [layers, B, kv_heads, T, head_dim].
        """
        rows, length = tokens.shape
        cos, sin = self.cos[:length, None], self.sin[:length, None]
        group = self.shape.heads // self.shape.kv_heads
        hidden, keys, values = F.embedding(tokens, self.embedding), [], []
        for layer in self.layers:
            q, k, v = (heads.transpose(1, 2) for heads in self._heads(layer, hidden, cos, sin))
            all_k, all_v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            mixed = F.scaled_dot_product_attention(q, all_k, all_v, is_causal=True, scale=1.0)
            hidden = self._mlp(layer, hidden + layer.attention_out(mixed.transpose(1, 2).reshape(rows, length, -1)))
            keys.append(k.transpose(2, 3))
            values.append(v)
        return hidden, torch.stack(keys), torch.stack(values)

    def decode(self, tokens: torch.Tensor, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Run one token of every slot ([S] int64) at its position ([S] int64); its key and value go into the cache.

        Returns logits [S, vocab], float32.
        """
        cache.advance()
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        hidden = F.embedding(tokens, self.embedding)
        for number, layer in enumerate(self.layers):
            mixed = cache.attend(number, *self._heads(layer, hidden, cos, sin))
            hidden = self._mlp(layer, hidden + layer.attention_out(mixed))
        return self.logits(hidden)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., vocab] in float32 from the last hidden states."""
        return self.head(self._norm(hidden)).float()

    def _heads(self, layer: Layer, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rotated queries, rotated keys and values, each [..., its heads, head_dim]."""
        heads, kv_heads = self.shape.heads, self.shape.kv_heads
        projected = layer.qkv(self._norm(hidden)).unflatten(-1, (-1, self.shape.head_dim))
        turned, values = projected.split((heads + kv_heads, kv_heads), -2)
        return (*rotate(turned, cos, sin).split((heads, kv_heads), -2), values)

    def _mlp(self, layer: Layer, hidden: torch.Tensor) -> torch.Tensor:
        gate, up = layer.gate_up(self._norm(hidden)).chunk(2, -1)
        return hidden + layer.down(F.silu(gate).mul_(up))

    def _norm(self, hidden: torch.Tensor) -> torch.Tensor:
        """RMS norm without its weight, which is in the projection that follows."""
        length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
        scale = length.square_().div_(hidden.shape[-1]).add_(self.shape.norm_eps).rsqrt_()
        return hidden * scale.to(hidden.dtype)


def fold(norm: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> Projection:
    """A projection that multiplies by the norm's weight first: W diag(n), computed in float32."""
    return Projection((weight.float() * norm.float()).to(dtype))


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of `heads` [..., head_dim] in the half-split layout; the sine's first half comes negated."""
    return (heads * cos).addcmul_(heads.roll(heads.shape[-1] // 2, -1), sin)


def _rotations(shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [positions, head_dim]; positions in whole steps of the cache, as prompts are padded."""
    inverse = shape.rope_base ** (-torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim)
    angles = torch.outer(torch.arange(whole_steps(shape.positions), dtype=torch.float32), inverse)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def _layer(shape: Shape, weights: dict[str, torch.Tensor], prefix: str, dtype: torch.dtype) -> Layer:
    qkv = weights[prefix + "self_attn.qkv_proj.weight"]
    scale = torch.ones(len(qkv), 1, device=qkv.device)
    scale[: shape.heads * shape.head_dim] = shape.head_dim**-0.5
    return Layer(
        qkv=fold(weights[prefix + "input_layernorm.weight"], qkv * scale, dtype),
        attention_out=Projection(weights[prefix + "self_attn.o_proj.weight"].to(dtype)),
        gate_up=fold(weights[prefix + "post_attention_layernorm.weight"], weights[prefix + "mlp.gate_up_proj.weight"], dtype),
        down=Projection(weights[prefix + "mlp.down_proj.weight"].to(dtype)),
    )
