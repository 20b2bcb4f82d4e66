"""Keys and values of the sequences that decode side by side: a prompt's once for all that continue it, and each one's own tokens.

Reading keys and values takes most of a small model's decoding time on a CPU. So all sequences of a prompt put their queries to its
keys in one matrix product, and only what a sequence has drawn itself is kept, grown and moved for it alone.

Keys lie transposed, since the product of a query with them then runs along memory. Sizes move in steps: matrix products run on
whole buffers, and each shape costs the CPU library a kernel that is compiled on first use.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

STEP = 32
HIDDEN = float("-inf")


def whole_steps(number: int, step: int = STEP) -> int:
    """The smallest multiple of the step that is `number` or more."""
    return -(-number // step) * step


@dataclass(frozen=True)
class Sizes:
    """What all caches of a model have in common."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    def zeros(self, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys [layers, rows, kv_heads, head_dim, length] and values [layers, rows, kv_heads, length, head_dim].

        Zeros, since even what a mask hides must be finite.
        """
        keys, values = (self.layers, rows, self.kv_heads, self.head_dim, length), (self.layers, rows, self.kv_heads, length, self.head_dim)
        return torch.zeros(keys, dtype=self.dtype, device=self.device), torch.zeros(values, dtype=self.dtype, device=self.device)

    def put(self, numbers: np.ndarray) -> torch.Tensor:
        """Numbers of the host where the caches are."""
        return torch.from_numpy(numbers).to(self.device)


class SharedPrompts:
    """The prompts: groups of up to `rows` sequences that continue one prompt or a beginning of it.

    A sequence is known by its slot, and has a place, `group * rows + row`. A group is free again when its last sequence ends.
    """

    GROUP_STEP = 8

    def __init__(self, sizes: Sizes, slots: int, rows: int) -> None:
        self.sizes, self.rows = sizes, rows
        self.place = np.zeros(slots, dtype=np.int64)
        self.slot = np.zeros((0, rows), dtype=np.int64)  # in each place; where nobody is, any slot
        self.left = np.zeros(0, dtype=np.int64)  # how many sequences of each group have not ended
        self.keys, self.values = sizes.zeros(0, 0)
        self._filling = (-1, -1, 0)  # the prompt and the group that were filled last, and how many of its rows are taken

    @property
    def length(self) -> int:
        """How many tokens the longest prompt can have now."""
        return self.keys.shape[-1]

    def admit(self, slots: Sequence[int], prompts: Sequence[int], first: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put slots behind the prompts of these numbers, whose `keys` and `values` stand at `number - first`."""
        self._reach(keys.shape[-1])
        for slot, prompt in zip(slots, prompts, strict=True):
            last, group, taken = self._filling
            if prompt != last or taken == self.rows:
                group, taken = self._free_group(), 0
                self.keys[:, group, ..., : keys.shape[-1]] = keys[:, prompt - first]
                self.values[:, group, :, : keys.shape[-1]] = values[:, prompt - first]
            self.slot[group, taken], self.place[slot] = slot, group * self.rows + taken
            self.left[group] += 1
            self._filling = (prompt, group, taken + 1)
        self._number()

    def end(self, slots: np.ndarray) -> None:
        """Let go of the sequences in these slots."""
        np.subtract.at(self.left, self.place[slots] // self.rows, 1)
        if self._filling[1] >= 0 and not self.left[self._filling[1]]:
            self._filling = (-1, -1, 0)

    def compact(self, slots: np.ndarray, length: int) -> None:
        """Keep only `slots`, in that order, the groups that they need, and `length` tokens or a few more of each prompt."""
        groups = np.flatnonzero(self.left)
        new_group, new_slot = np.zeros(len(self.left), dtype=np.int64), np.zeros(len(self.place), dtype=np.int64)
        new_group[groups], new_slot[slots] = np.arange(len(groups)), np.arange(len(slots))
        place, where = self.place[slots], self.sizes.put(groups)
        self.place = new_group[place // self.rows] * self.rows + place % self.rows
        self.slot, self.left = new_slot[self.slot[groups]], self.left[groups]
        length = min(whole_steps(length), self.length)
        self.keys, self.values = self.keys[..., :length][:, where], self.values[..., :length, :][:, where]
        self._filling = (-1, -1, 0)
        self._number()

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """From the order of slots [slots * kv_heads, n, m] to that of groups [groups * kv_heads, rows * n, m]."""
        return rows.index_select(0, self._slots).view(len(self.left) * self.sizes.kv_heads, -1, rows.shape[-1])

    def scatter(self, rows: torch.Tensor) -> torch.Tensor:
        """The way back."""
        return rows.view(len(self._slots), -1, rows.shape[-1]).index_select(0, self._places)

    def _reach(self, length: int) -> None:
        missing = whole_steps(length) - self.length
        if missing > 0:
            self.keys, self.values = F.pad(self.keys, (0, missing)), F.pad(self.values, (0, 0, 0, missing))

    def _free_group(self) -> int:
        free = np.flatnonzero(self.left == 0)
        if not len(free):
            free = np.array([len(self.left)])
            more = self.sizes.zeros(self.GROUP_STEP, self.length)
            self.keys, self.values = torch.cat((self.keys, more[0]), 1), torch.cat((self.values, more[1]), 1)
            self.slot = np.concatenate((self.slot, np.zeros((self.GROUP_STEP, self.rows), dtype=np.int64)))
            self.left = np.concatenate((self.left, np.zeros(self.GROUP_STEP, dtype=np.int64)))
        return int(free[0])

    def _number(self) -> None:
        """Number the rows of `gather` and `scatter`: heads stand together in a slot, rows in a group."""
        heads = np.arange(self.sizes.kv_heads)
        slots = self.slot[:, None, :] * self.sizes.kv_heads + heads[:, None]
        places = (self.place // self.rows)[:, None] * self.sizes.kv_heads + heads
        self._slots = self.sizes.put(slots.reshape(-1))
        self._places = self.sizes.put((places * self.rows + (self.place % self.rows)[:, None]).reshape(-1))


class OwnTokens:
    """What every sequence has drawn itself, in a ring of columns: in one step all sequences write into the same column.

    Attention does not ask in which order keys stand, since their positions are in them. So a sequence that starts later just does
    not see the columns before. The ring is as long as the longest sequence.
    """

    def __init__(self, sizes: Sizes, slots: int, longest: int) -> None:
        self.keys, self.values = sizes.zeros(slots, STEP)
        self.mask = torch.full((slots, STEP), HIDDEN, dtype=sizes.dtype, device=sizes.device)
        self.column = -1
        self._longest = whole_steps(longest)

    @property
    def length(self) -> int:
        """How many columns there are now."""
        return self.keys.shape[-1]

    def admit(self, slots: torch.Tensor) -> None:
        """Hide from new sequences what those before them left in these slots."""
        self.mask[slots] = HIDDEN

    def advance(self) -> None:
        """Go to the next column, and show it to all."""
        self.column += 1
        if self.column == self.length and self.length < self._longest:
            self.keys, self.values = F.pad(self.keys, (0, STEP)), F.pad(self.values, (0, 0, 0, STEP))
            self.mask = F.pad(self.mask, (0, STEP), value=HIDDEN)
        self.column %= self.length
        self.mask[:, self.column] = 0

    def compact(self, slots: torch.Tensor, age: int) -> None:
        """Keep only `slots`, in that order, and the `age` last columns or a few more."""
        length = min(whole_steps(age + 1), self.length)
        first = (self.column - age + 1) % self.length
        if first:
            self.keys, self.values, self.mask = self.keys.roll(-first, -1), self.values.roll(-first, -2), self.mask.roll(-first, -1)
        self.keys, self.values = self.keys[..., :length][:, slots], self.values[..., :length, :][:, slots]
        self.mask = self.mask[:, :length][slots]
        self.column = age - 1


class Cache:
    """The keys and values of a batch of slots, prompts and own tokens together."""

    def __init__(self, sizes: Sizes, *, slots: int, rows: int, longest: int) -> None:
        self.sizes = sizes
        self.prompts = SharedPrompts(sizes, slots, rows)
        self.own = OwnTokens(sizes, slots, longest)
        self.prompt_lengths = np.zeros(slots, dtype=np.int64)
        self._prompt_mask: torch.Tensor | None = None  # until slots or prompts change
        self._mask = self.own.mask

    def admit(
        self, slots: np.ndarray, prompts: Sequence[int], lengths: np.ndarray, first: int, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Let slots continue the first `lengths` tokens of prompts; see `SharedPrompts.admit`."""
        self.prompts.admit(slots.tolist(), prompts, first, keys, values)
        self.own.admit(self.sizes.put(slots))
        self.prompt_lengths[slots] = lengths
        self._prompt_mask = None

    def end(self, slots: np.ndarray) -> None:
        """Let go of ended sequences; their slots stay, for others to take."""
        self.prompts.end(slots)
        self.prompt_lengths[slots] = 1

    def compact(self, slots: np.ndarray, age: int) -> None:
        """Keep only `slots`, in that order, none of which has drawn more than `age` tokens."""
        self.prompt_lengths = self.prompt_lengths[slots]
        self.prompts.compact(slots, int(self.prompt_lengths.max(initial=0)))
        self.own.compact(self.sizes.put(slots), age)
        self._prompt_mask = None

    def advance(self) -> None:
        """Make room for one more token of every slot; once before the layers of each step."""
        self.own.advance()
        if self._prompt_mask is None:
            unseen = self.sizes.put(np.arange(self.prompts.length) >= self.prompt_lengths[:, None])
            self._prompt_mask = torch.zeros_like(unseen, dtype=self.sizes.dtype).masked_fill_(unseen, HIDDEN)
        self._mask = torch.cat((self._prompt_mask, self.own.mask), -1)[:, None]

    def attend(self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Attention of one new token of every slot: queries [S, heads, head_dim], scaled; keys and values [S, kv_heads, head_dim].

        The keys and values are kept. Returns [S, heads * head_dim].
        """
        own, prompts, (slots, heads, head_dim) = self.own, self.prompts, queries.shape
        own.keys[layer, ..., own.column] = keys
        own.values[layer, :, :, own.column] = values
        rows = queries.reshape(slots * self.sizes.kv_heads, -1, head_dim)
        shared_scores = prompts.scatter(torch.bmm(prompts.gather(rows), prompts.keys[layer].flatten(0, 1)))
        own_scores = torch.bmm(rows, own.keys[layer].flatten(0, 1))
        scores = torch.cat((shared_scores, own_scores), -1).view(slots, heads, -1).add_(self._mask)
        weights = scores.softmax(-1).view(*rows.shape[:2], -1).split((prompts.length, own.length), -1)
        mixed = prompts.scatter(torch.bmm(prompts.gather(weights[0]), prompts.values[layer].flatten(0, 1)))
        return mixed.add_(torch.bmm(weights[1], own.values[layer].flatten(0, 1))).view(slots, -1)
