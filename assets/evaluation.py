"""Evaluation: every checkpoint on the same held-out problems, and the gate that keeps a worse model from being released."""

from pathlib import Path

from assets.builder import Group
from assets.checks import ACCOUNTED, NEAR, PROMOTED
from factory import figures
from factory.store.manifest import Manifest


def pictures(_: Manifest, folder: Path) -> dict[str, bytes | None]:
    """Accuracy by family of problems, by checkpoint, and loss by position, all with intervals; what became of trivia."""
    return {
        "greedy accuracy": figures.families(folder),
        "accuracy by stage": figures.by_stage(folder),
        "trivia: correct, not attempted, incorrect": figures.trivia(folder),
        "loss by position": figures.long_context(folder),
    }


GROUP = Group("evaluation", owner="team:evaluation", checks=(ACCOUNTED, NEAR, PROMOTED), figures=pictures)
