"""Curation: from raw documents to clean ones, seeds and question sets."""

from pathlib import Path

from assets.builder import Group
from assets.checks import ACCOUNTED, NOT_EMPTY
from factory import figures
from factory.store.manifest import Manifest


def pictures(manifest: Manifest, _: Path) -> dict[str, bytes | None]:
    """What was dropped and why, and what the kept documents are like."""
    return {
        "kept and dropped": figures.drops(manifest),
        "languages": figures.languages(manifest),
        "quality": figures.quality(manifest),
    }


GROUP = Group("curation", owner="team:data", checks=(ACCOUNTED, NOT_EMPTY), figures=pictures)
