"""A mixture that changes in mid-run: which shard, and which of its rows, every row of training comes from.

Megatron blends with one set of shares. Here each phase is blended by itself, and a shard's rows are counted on from phase to
phase, so that none comes twice unless the shard itself is read through more than once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factory.errors import SeedmillError
from factory.training.config import PretrainConfig
from factory.training.megatron import blending
from factory.training.shards import Shard

PREFIX = "token_shards/"


@dataclass(frozen=True)
class Phase:
    """So many rows in a row, drawn from the shards in these shares."""

    rows: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Order:
    """For every row of training, its shard and its number within the shard: [rows] each."""

    shard: np.ndarray
    row: np.ndarray


def phases(section: PretrainConfig, shards: Sequence[Shard]) -> list[Phase]:
    """The phases of a run; raises when a change names a cluster that the blend does not have."""
    names = [shard.asset.removeprefix(PREFIX) for shard in shards]
    starts = [0, *(change.step for change in section.mixture_changes), section.steps]
    rows = np.diff([section.rows_before(step) for step in starts]).tolist()
    shares = [tuple(shard.share for shard in shards)]
    for change in section.mixture_changes:
        unknown = sorted(set(change.shares) - set(names))
        if unknown:
            raise SeedmillError(f"mixture_changes at step {change.step} names clusters {unknown}, but the blend has {names}")
        shares.append(tuple(change.shares.get(name, 0.0) for name in names))
    return [Phase(*phase) for phase in zip(rows, shares, strict=True)]


def order(plan: Sequence[Phase]) -> Order:
    """Blend phase after phase: within each, every prefix is as near to the shares as whole rows allow (Megatron's algorithm)."""
    number = len(plan[0].shares)
    used = np.zeros(number, dtype=np.int64)
    shards, rows = [], []
    for phase in plan:
        shard, row = _blended(phase)
        shards.append(shard)
        rows.append(row + used[shard])
        used += np.bincount(shard, minlength=number)
    return Order(np.concatenate(shards), np.concatenate(rows))


def _blended(phase: Phase) -> tuple[np.ndarray, np.ndarray]:
    """Shard and row number of each row of one phase; shards without a share are kept from Megatron, which gives each a row."""
    present = np.flatnonzero(phase.shares)
    shares = np.array(phase.shares)[present] / sum(phase.shares)
    shard, row = np.zeros(phase.rows, dtype=np.int16), np.zeros(phase.rows, dtype=np.int64)
    blending.build_blending_indices(shard, row, shares, len(present), phase.rows, False)  # type: ignore[attr-defined]
    return present[shard], row


def with_shares_of(shards: Sequence[Shard], whole: Order) -> list[Shard]:
    """The shards with the share of all rows that the order takes of each."""
    taken = np.bincount(whole.shard, minlength=len(shards)) / len(whole.shard)
    return [replace(shard, share=float(share)) for shard, share in zip(shards, taken, strict=True)]
