"""Keys and values of the sequences that decode side by side, and of a chunk of prompts waiting to join them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812

STEP = 32


@dataclass
class Cache:
    """One row (slot) per sequence: keys [layers, S, kv_heads, head_dim, T] and values [layers, S, kv_heads, T, head_dim].

    Keys lie transposed: the product of one query with them then runs along memory, 2.6 times faster in bfloat16 on a CPU.
    S and T move in steps of 32: matrix products run on whole buffers without a copy, and only a few shapes ever occur, each
    of which costs the CPU library a kernel compiled on first use.
    """

    keys: torch.Tensor
    values: torch.Tensor

    @classmethod
    def empty(cls, *, layers: int, slots: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> "Cache":
        """A cache of one step's length, all zeros: what a mask hides must still be finite."""
        keys = torch.zeros(layers, slots, kv_heads, head_dim, STEP, dtype=dtype)
        return cls(keys, torch.zeros(layers, slots, kv_heads, STEP, head_dim, dtype=dtype))

    @property
    def length(self) -> int:
        """How many tokens a row can hold now."""
        return self.keys.shape[-1]

    def reach(self, length: int) -> None:
        """Grow so that every row holds at least `length` tokens."""
        missing = whole_steps(length) - self.length
        if missing > 0:
            self.keys, self.values = F.pad(self.keys, (0, missing)), F.pad(self.values, (0, 0, 0, missing))

    def admit(self, slots: torch.Tensor, prompts: "Prompts", rows: torch.Tensor) -> None:
        """Copy the prompts at `rows` of a chunk into `slots`; a prompt may be copied to many slots."""
        length = prompts.keys.shape[-1]
        self.reach(length)
        self.keys[:, slots, :, :, :length] = prompts.keys[:, rows]
        self.values[:, slots, :, :length] = prompts.values[:, rows]

    def compact(self, slots: torch.Tensor, length: int) -> None:
        """Keep only `slots`, in that order, and the first `length` tokens or a few more."""
        length = min(whole_steps(length), self.length)
        self.keys = self.keys[..., :length][:, slots]
        self.values = self.values[..., :length, :][:, slots]


def whole_steps(number: int, step: int = STEP) -> int:
    """The smallest multiple of the step that is `number` or more."""
    return -(-number // step) * step


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
