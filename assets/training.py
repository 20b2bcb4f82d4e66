"""Training: the five checkpoints, each a job of its own."""

from pathlib import Path

from assets.builder import Group
from assets.checks import ACCOUNTED, MARGINS
from factory import figures
from factory.store.manifest import Manifest


def pictures(manifest: Manifest, folder: Path) -> dict[str, bytes | None]:
    """Loss, gradient norm with learning rate, and speed, by step."""
    return {"loss": figures.loss(folder), "gradients": figures.gradients(folder), "speed": figures.speed(manifest)}


GROUP = Group("training", owner="team:training", checks=(ACCOUNTED, MARGINS), figures=pictures)
