"""The recipe's sections for the tokenizer, the shards and the two mixtures; the defaults are the laptop's.

Clusters, shares and their epochs are those of Phi-4, Table 5; midtraining follows its section 3.3.
"""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from factory.settings import Section

Cluster = Literal["web", "web_rewrites", "synthetic", "code", "acquired"]

FEEDS: dict[Cluster, tuple[str, ...]] = {
    "web": ("clean_documents",),
    "web_rewrites": ("web_rewrites",),
    "synthetic": ("synthetic_documents",),
    "code": ("clean_documents", "synthetic_documents"),
    "acquired": ("clean_documents",),
}
"""The inputs of `token_shards/CLUSTER`, beside the tokenizer."""


def _sums_to_one(shares: dict[Cluster, float]) -> dict[Cluster, float]:
    total = math.fsum(shares.values())
    if not math.isclose(total, 1.0, abs_tol=1e-9):
        raise ValueError(f"the shares sum to {total:g}, not 1: {shares}; change them until they do")
    return shares


Shares = Annotated[dict[Cluster, Annotated[float, Field(ge=0, le=1)]], AfterValidator(_sums_to_one)]
"""The share of training tokens of each cluster."""

PHI4_SHARES: dict[Cluster, float] = {"web": 0.15, "web_rewrites": 0.15, "synthetic": 0.40, "code": 0.20, "acquired": 0.10}


class TokenizerConfig(Section):
    """The section of `tokenizer`."""

    kind: Literal["trained", "cl100k_base"] = Field(default="trained", description="train a BPE on our own text, or take OpenAI's")
    vocab_size: int = Field(default=1024, ge=512, le=200_000, description="ids of a trained vocabulary, control tokens included")
    sample_bytes: int = Field(default=6_000_000, ge=10_000, description="bytes of training text, equally many from each input")
    padded_multiple: int = Field(default=64, ge=1, description="the vocabulary is padded with unused ids to a multiple of this")


class LongDocuments(Section):
    """What counts as a long document, and which of the naturally long ones no training may see. Shards and midtraining share it."""

    min_tokens: int = Field(default=512, ge=1, description="a document with more tokens than this is long (N)")
    held_out_share: float = Field(default=0.1, ge=0, lt=1, description="share of the naturally long documents kept for evaluation")
    clusters: tuple[Cluster, ...] = Field(default=("code", "acquired"), description="clusters whose documents count as naturally long text")
    synthetic_kinds: tuple[str, ...] = Field(default=("worksheet",), description="kinds of synthetic documents made long for midtraining")


class ShardConfig(Section):
    """The section of `token_shards/CLUSTER`."""

    cluster: Cluster = Field(default="web", description="the cluster that this shard holds")
    sources: dict[str, Cluster] = Field(default={}, description="the cluster of every source of clean_documents")
    synthetic_code_share: float = Field(default=0.5, ge=0, le=1, description="share of synthetic programs in the code cluster's bytes")
    long: LongDocuments = Field(default=LongDocuments(), description="what is long, and left to midtraining or evaluation")


class BlendConfig(Section):
    """The section of `pretraining_blend`."""

    shares: Shares = Field(default=PHI4_SHARES, description="share of training tokens of each cluster; they sum to 1")
    total_tokens: int = Field(default=3_000_000, ge=1, description="tokens that pretraining sees")
    sequence_length: int = Field(default=256, ge=8, description="tokens a training sequence")


class LongContextConfig(Section):
    """The section of `long_context_blend` (Phi-4: 30% new long data, 70% recall, over 8K tokens, 16K and more up-weighted)."""

    long_share: float = Field(default=0.3, ge=0, le=1, description="share of new long data; the rest recalls the pretraining mixture")
    recall: Shares = Field(default=PHI4_SHARES, description="share of each cluster within the recalled part; they sum to 1")
    sources: dict[str, Cluster] = Field(default={}, description="the cluster of every source of clean_documents")
    upweight: int = Field(default=2, ge=1, description="how often a document of 2N tokens or more is seen for once of the others")
    total_tokens: int = Field(default=400_000, ge=1, description="tokens that midtraining sees")
    sequence_length: int = Field(default=1024, ge=8, description="tokens a midtraining sequence")
    long: LongDocuments = Field(default=LongDocuments(), description="what is long, the same as in the shards")
