"""The forward pass of a Phi-3 shaped model in plain torch, straight from its Hugging Face folder.

Decoding a small model is bound by the overhead around the arithmetic, so this keeps nothing between the weights and the
matrix products: no module tree, no cache objects, no masks built twice. Names of weights are those of Hugging Face's Phi3.
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
    rope_dim: int
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
            rope_dim=int(head_dim * rope.get("partial_rotary_factor", 1.0)),
            norm_eps=config.get("rms_norm_eps", 1e-5),
            positions=config["max_position_embeddings"],
        )


def refuse(config: dict[str, Any], folder: Path) -> None:
    """Raise when the configuration asks for a model that would come out wrong here."""
    kind, window = config.get("model_type"), config.get("sliding_window")
    rope = (config.get("rope_parameters") or config.get("rope_scaling") or {}).get("rope_type", "default")
    if kind != "phi3":
        raise SeedmillError(f"{folder}: model_type is {kind!r}; the local engine runs phi3 models")
    if window is not None:
        raise SeedmillError(f"{folder}: sliding_window is {window}; the local engine attends to the whole context, so set it to null")
    if rope != "default":
        raise SeedmillError(f"{folder}: rope_type is {rope!r}; the local engine knows only 'default' (raise rope_theta instead)")


@dataclass(frozen=True)
class Layer:
    """The weights of one block."""

    attention_norm: torch.Tensor
    qkv: torch.Tensor
    attention_out: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class Phi3:
    """Weights and the two passes over them: `prefill` for whole prompts, `decode` for one more token of each sequence."""

    def __init__(self, shape: Shape, weights: dict[str, torch.Tensor]) -> None:
        self.shape = shape
        self.embedding = weights["model.embed_tokens.weight"]
        self.head = weights.get("lm_head.weight", self.embedding)
        self.norm = weights["model.norm.weight"]
        self.layers = [_layer(weights, f"model.layers.{number}.") for number in range(shape.layers)]
        self.cos, self.sin = _rotations(shape, self.dtype)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, positions: int | None = None) -> "Phi3":
        """Read `config.json` and `model.safetensors`, cast to `dtype`; `positions` raises the longest sequence."""
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).exists():
                raise SeedmillError(f"{folder} holds no {name}: a checkpoint's `hf` folder is needed")
        shape = Shape.of(json.loads((folder / "config.json").read_text(encoding="utf-8")), folder)
        shape = replace(shape, positions=max(shape.positions, positions or 0))
        return cls(shape, {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()})

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of all matrix products."""
        return self.embedding.dtype

    def prefill(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run whole sequences, [B, T] int64, padded on the right (causal, so the padding changes nothing before it).

        Returns hidden states [B, T, hidden], keys [layers, B, kv_heads, head_dim, T] and values [layers, B, kv_heads, T, head_dim].
        """
        rows, length = tokens.shape
        cos, sin = self.cos[:length], self.sin[:length]
        group = self.shape.heads // self.shape.kv_heads
        hidden, keys, values = F.embedding(tokens, self.embedding), [], []
        for layer in self.layers:
            q, k, v = self._heads(layer, hidden.view(rows * length, -1), (rows, length))
            q, k = rotate(q.transpose(1, 2), cos, sin), rotate(k.transpose(1, 2), cos, sin)
            v = v.transpose(1, 2)
            mixed = F.scaled_dot_product_attention(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), is_causal=True)
            hidden = self._mlp(layer, hidden + F.linear(mixed.transpose(1, 2).reshape(rows, length, -1), layer.attention_out))
            keys.append(k.transpose(2, 3))
            values.append(v)
        return hidden, torch.stack(keys), torch.stack(values)

    def decode(self, tokens: torch.Tensor, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Run one token of every slot ([S] int64) at its position ([S] int64); its key and value go into the cache.

        Returns logits [S, vocab], float32.
        """
        slots = len(tokens)
        cache.reach(int(positions.max()) + 1)
        kv_heads, head_dim, rows = self.shape.kv_heads, self.shape.head_dim, torch.arange(len(tokens))
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        unseen = torch.arange(cache.length) > positions[:, None]
        mask = torch.zeros(slots, cache.length, dtype=self.dtype).masked_fill_(unseen, float("-inf"))
        mask = mask.repeat_interleave(kv_heads, 0)[:, None]
        hidden = F.embedding(tokens, self.embedding)
        for layer, keys, values in zip(self.layers, cache.keys, cache.values, strict=True):
            q, k, v = self._heads(layer, hidden, (slots,))
            keys[rows, :, :, positions] = rotate(k, cos, sin)
            values[rows, :, positions] = v
            q = (rotate(q, cos, sin) * head_dim**-0.5).reshape(slots * kv_heads, -1, head_dim)
            scores = torch.baddbmm(mask, q, keys.flatten(0, 1))
            mixed = torch.bmm(scores.softmax(-1), values.flatten(0, 1))
            hidden = self._mlp(layer, hidden + F.linear(mixed.view(slots, -1), layer.attention_out))
        return self.logits(hidden)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., vocab] in float32 from the last hidden states."""
        return F.linear(self._norm(hidden, self.norm), self.head).float()

    def _heads(self, layer: Layer, hidden: torch.Tensor, rows: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        projected = F.linear(self._norm(hidden, layer.attention_norm), layer.qkv).view(*rows, -1, self.shape.head_dim)
        return projected.split((self.shape.heads, self.shape.kv_heads, self.shape.kv_heads), -2)

    def _mlp(self, layer: Layer, hidden: torch.Tensor) -> torch.Tensor:
        gate, up = F.linear(self._norm(hidden, layer.mlp_norm), layer.gate_up).chunk(2, -1)
        return hidden + F.linear(F.silu(gate).mul_(up), layer.down)

    def _norm(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(hidden, weight.shape, weight, self.shape.norm_eps)


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of `heads` [..., head_dim] in the half-split layout; cos and sin are [..., rope_dim / 2]."""
    half = cos.shape[-1]
    first, second, rest = heads.split((half, half, heads.shape[-1] - 2 * half), -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), -1)


def _rotations(shape: Shape, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    inverse = shape.rope_base ** (-torch.arange(0, shape.rope_dim, 2, dtype=torch.float32) / shape.rope_dim)
    angles = torch.outer(torch.arange(whole_steps(shape.positions), dtype=torch.float32), inverse)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _layer(weights: dict[str, torch.Tensor], prefix: str) -> Layer:
    return Layer(
        attention_norm=weights[prefix + "input_layernorm.weight"],
        qkv=weights[prefix + "self_attn.qkv_proj.weight"],
        attention_out=weights[prefix + "self_attn.o_proj.weight"],
        mlp_norm=weights[prefix + "post_attention_layernorm.weight"],
        gate_up=weights[prefix + "mlp.gate_up_proj.weight"],
        down=weights[prefix + "mlp.down_proj.weight"],
    )
