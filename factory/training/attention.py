"""Attention without Transformer Engine, as the core attention of Megatron's local layer specification.

The stock one builds its causal mask on CUDA and repeats keys and values for grouped queries. This one runs anywhere, takes a
document mask, and supports context parallelism by gathering keys and values over the context ranks.

Short bf16 rows go through two plain matrix products: torch's fused attention does not use the CPU's bf16 units in its backward
pass, and took 25 ms where these take 7 ms (16 rows of 128 tokens, forward and backward).
"""

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812

from factory.training.megatron import MegatronModule, ProcessGroupCollection, TransformerConfig

LONGEST_PRODUCT = 1024


class _GatherOverContext(torch.autograd.Function):
    """All-gather along a new first axis; the gradient is summed over ranks and this rank's share returned."""

    @staticmethod
    def forward(ctx: Any, local: torch.Tensor, group: Any) -> torch.Tensor:
        ctx.group, ctx.rank = group, dist.get_rank(group)
        gathered = [torch.empty_like(local) for _ in range(dist.get_world_size(group))]
        dist.all_gather(gathered, local.contiguous(), group=group)
        return torch.stack(gathered)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        grad = grads[0].contiguous()
        dist.all_reduce(grad, group=ctx.group)
        return grad[ctx.rank], None


class ScaledDotProductAttention(MegatronModule):
    """Softmax attention, [s, b, heads, d] x [s, b, groups, d] -> [s, b, heads x d]; causal where no mask is given."""

    def __init__(self, config: TransformerConfig, pg_collection: Any = None, softmax_scale: float | None = None, **_: Any) -> None:
        super().__init__(config=config)
        groups = pg_collection or ProcessGroupCollection.use_mpu_process_groups(required_pgs=["tp", "cp"])
        self.context_group = groups.cp
        self.context_ranks = groups.cp.size()
        assert config.kv_channels is not None
        self.scale = softmax_scale if softmax_scale is not None else 1.0 / math.sqrt(config.kv_channels)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **_: Any,
    ) -> torch.Tensor:
        """Attend; `attention_mask` [b, 1, s, s] is true where attention is blocked (Megatron's sense)."""
        length, batch, heads, channels = query.shape
        allowed = None if attention_mask is None else ~attention_mask
        if self.context_ranks > 1:
            key, value = self._whole_keys(key, value)
            allowed = self._allowed_from_here(length, query.device)
        q, k, v = (t.permute(1, 2, 0, 3) for t in (query, key, value))
        if query.dtype is torch.bfloat16 and key.shape[0] <= LONGEST_PRODUCT:
            out = _product_attention(q, k, v, allowed, self.scale)
        else:
            grouped = k.shape[1] != heads
            out = F.scaled_dot_product_attention(
                q, k, v, attn_mask=allowed, is_causal=allowed is None, scale=self.scale, enable_gqa=grouped
            )
        return out.permute(2, 0, 1, 3).reshape(length, batch, heads * channels)

    def _whole_keys(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the whole sequence: rank r holds chunks r and 2n-1-r of 2n."""
        gathered = _GatherOverContext.apply(torch.stack([key, value], dim=1), self.context_group)
        half, last = gathered.shape[1] // 2, 2 * self.context_ranks - 1
        chunks = {}
        for rank in range(self.context_ranks):
            chunks[rank], chunks[last - rank] = gathered[rank, :half], gathered[rank, half:]
        whole = torch.cat([chunks[i] for i in range(last + 1)])
        return whole[:, 0], whole[:, 1]

    def _allowed_from_here(self, length: int, device: torch.device) -> torch.Tensor:
        """The causal mask [s_local, s] of this rank's two chunks; true where attention is allowed."""
        half, rank = length // 2, self.context_group.rank()
        within = torch.arange(half, device=device)
        positions = torch.cat([within + rank * half, within + (2 * self.context_ranks - 1 - rank) * half])
        return positions[:, None] >= torch.arange(length * self.context_ranks, device=device)[None]

    def sharded_state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Attention has no weights of its own."""
        return {}


def _product_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, allowed: torch.Tensor | None, scale: float) -> torch.Tensor:
    """Attention of [b, heads, s, d] over [b, groups, t, d]: the heads of a group are rows of one product."""
    batch, heads, length, channels = q.shape
    groups, keys = k.shape[1], k.shape[2]
    if allowed is None:
        allowed = torch.ones(length, keys, dtype=torch.bool, device=q.device).tril()
    bias = torch.zeros(allowed.shape, dtype=q.dtype, device=q.device).masked_fill_(~allowed, -torch.inf)
    if bias.dim() == 4:
        bias = bias[:, :, None]
    bias = bias.expand(batch, groups, heads // groups, length, keys).reshape(batch * groups, -1, keys)
    queries = q.reshape(batch * groups, -1, channels)
    scores = torch.baddbmm(bias, queries, k.reshape(batch * groups, keys, channels).transpose(1, 2), alpha=scale)
    out = torch.bmm(scores.softmax(dim=-1), v.reshape(batch * groups, keys, channels))
    return out.view(batch, heads, length, channels)
