"""Tokenizer, shards and the two mixtures."""

from factory.graph.stage import Stage
from factory.recipe import Recipe
from factory.tokens.config import FEEDS, ShardConfig


def shard_names(recipe: Recipe) -> tuple[str, ...]:
    """The assets of the clusters that have a share in the mixture."""
    return tuple(f"token_shards/{cluster}" for cluster, share in recipe.pretraining_blend.shares.items() if share > 0)


def stages(recipe: Recipe) -> list[Stage]:
    """The tokens group."""
    shards = [_shard(name, recipe) for name in shard_names(recipe)]
    return [
        Stage(
            name="tokenizer",
            group="tokens",
            description="A byte-pair encoding, trained on the corpus or taken as cl100k_base; loaded as a tiktoken encoding.",
            run="factory.tokens.train:run",
            section=recipe.tokenizer,
            inputs=("clean_documents", "web_rewrites", "synthetic_documents"),
            kinds=("python",),
            seeded=False,
        ),
        *shards,
        Stage(
            name="pretraining_blend",
            group="tokens",
            description="The mixture by shares of tokens (Table 5), with the epochs that each cluster is seen for.",
            run="factory.tokens.blend:run",
            section=recipe.pretraining_blend,
            inputs=tuple(stage.name for stage in shards),
            kinds=("python",),
            seeded=False,
        ),
        Stage(
            name="long_context_blend",
            group="tokens",
            description="The midtraining mixture: naturally long documents and new long synthetic ones, the rest recall.",
            run="factory.tokens.long_context:run",
            section=recipe.long_context_blend,
            inputs=("tokenizer", "clean_documents", "synthetic_documents", *(stage.name for stage in shards)),
            kinds=("python",),
            seeded=False,
        ),
    ]


def _shard(name: str, recipe: Recipe) -> Stage:
    cluster = name.removeprefix("token_shards/")
    assert cluster in FEEDS
    section = ShardConfig(
        cluster=cluster,
        sources=recipe.source_clusters,
        synthetic_code_share=recipe.mixture.synthetic_code_share,
        long=recipe.mixture.long,
    )
    return Stage(
        name=name,
        group="tokens",
        description=f"The tokens of cluster `{cluster}` as Megatron .bin and .idx, with an index from document to record.",
        run="factory.tokens.shards:run",
        section=section,
        inputs=("tokenizer", *FEEDS[cluster]),
        kinds=("megatron",),
        seeded=False,
    )
