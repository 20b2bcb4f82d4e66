"""What a GPU does with rows of several documents, without one: rows laid end to end, and attention of variable length over them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from factory.training import attention, model, objectives


class VariableLengthAttention(attention.ScaledDotProductAttention):
    """Stands for Transformer Engine's: [t, heads, d] x [t, groups, d], each of the sequences that `cu_seqlens` bounds by itself."""

    def forward(self, query, key, value, attention_mask, *, packed_seq_params=None, **_):
        if packed_seq_params is None:
            return super().forward(query, key, value, attention_mask)
        bounds = packed_seq_params.cu_seqlens_q.tolist()
        assert packed_seq_params.max_seqlen_q == max(b - a for a, b in pairwise(bounds))
        parts = [[t[a:b, None] for t in (query, key, value)] for a, b in pairwise(bounds)]
        return torch.cat([super(VariableLengthAttention, self).forward(*part, None) for part in parts])


def lay_end_to_end(put: Callable[[Any, str, Any], None], *, wanted: bool = True) -> None:
    """Let batches with segments go as on a GPU, or as without one; `put` sets an attribute."""
    put(objectives, "HAS_GPU", wanted)
    put(model, "ScaledDotProductAttention", VariableLengthAttention if wanted else attention.ScaledDotProductAttention)
