"""Keys and values of the sequences that decode side by side, and of a chunk of prompts waiting to join them."""

from dataclasses import dataclass

import torch


@dataclass
class Cache:
    """One row (slot) per sequence: keys [layers, S, kv_heads, head_dim, T] and values [layers, S, kv_heads, T, head_dim].

    Keys lie transposed: the product of one query with them then runs along memory, 2.6 times faster in bfloat16 on a CPU.
    """

    keys: torch.Tensor
    values: torch.Tensor

    @classmethod
    def empty(cls, *, layers: int, slots: int, kv_heads: int, head_dim: int, length: int, dtype: torch.dtype) -> "Cache":
        """All zeros: what a mask hides must still be finite."""
        keys = torch.zeros(layers, slots, kv_heads, head_dim, length, dtype=dtype)
        return cls(keys, torch.zeros(layers, slots, kv_heads, length, head_dim, dtype=dtype))

    def admit(self, slots: torch.Tensor, prompts: "Prompts", rows: torch.Tensor) -> None:
        """Copy the prompts at `rows` of a chunk into `slots`; a prompt may be copied to many slots."""
        length = prompts.keys.shape[-1]
        self.keys[:, slots, :, :, :length] = prompts.keys[:, rows]
        self.values[:, slots, :, :length] = prompts.values[:, rows]

    def compact(self, slots: torch.Tensor) -> None:
        """Keep only `slots`, in that order."""
        self.keys, self.values = self.keys[:, slots], self.values[:, slots]


@dataclass(frozen=True)
class Prompts:
    """A chunk of distinct prompts after their prefill: `first` is the number of its first prompt, `logits` [B, vocab] follow each."""

    first: int
    keys: torch.Tensor
    values: torch.Tensor
    logits: torch.Tensor

    @property
    def end(self) -> int:
        """One past the number of the last prompt."""
        return self.first + len(self.logits)
