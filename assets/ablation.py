"""Ablation: the other arms of the paper's Table 9 and the control, outside of the default job."""

from pathlib import Path

from assets.builder import Group
from assets.checks import ACCOUNTED, FAIR_JUDGE, FOUND_PAIRS, HAS_PAIRS, MARGINS, NEAR, NO_HELD_OUT
from factory import figures
from factory.store.manifest import Manifest


def pictures(_: Manifest, folder: Path) -> dict[str, bytes | None]:
    """The loss curve of an arm; in the report, all arms side by side."""
    return {"loss": figures.loss(folder), "accuracy by arm": figures.arms(folder)}


CHECKS = (ACCOUNTED, HAS_PAIRS, FOUND_PAIRS, NO_HELD_OUT, FAIR_JUDGE, MARGINS, NEAR)
GROUP = Group("ablation", owner="team:training", checks=CHECKS, figures=pictures)
