"""Preference: refusals, pivotal pairs and judged pairs. Training on no pair at all must not look like success."""

from pathlib import Path

from assets import synthesis
from assets.builder import Group
from assets.checks import ACCOUNTED, FAIR_JUDGE, FOUND_PAIRS, HAS_PAIRS, LESS_PROBABLE, NO_HELD_OUT, NOT_EMPTY
from factory.preference import figure_png
from factory.store.manifest import Manifest


def pictures(manifest: Manifest, folder: Path) -> dict[str, bytes | None]:
    """What was dropped, and one searched answer with its pivotal tokens."""
    return {**synthesis.pictures(manifest, folder), "pivotal tokens": figure_png.of_folder(folder)}


CHECKS = (ACCOUNTED, NOT_EMPTY, HAS_PAIRS, FOUND_PAIRS, NO_HELD_OUT, LESS_PROBABLE, FAIR_JUDGE)
GROUP = Group("preference", owner="team:training", checks=CHECKS, figures=pictures)
