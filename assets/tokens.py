"""Tokens: the tokenizer, the shards of each cluster, and the two mixtures."""

from pathlib import Path

from assets.builder import Group
from assets.checks import ACCOUNTED
from factory import figures
from factory.store.manifest import Manifest


def pictures(_: Manifest, folder: Path) -> dict[str, bytes | None]:
    """What a mixture is made of, and how often each token is seen."""
    return {"mixture": figures.mixture(folder)}


GROUP = Group("tokens", owner="team:data", checks=(ACCOUNTED,), figures=pictures)
