"""Training: the five checkpoints, each a job of its own."""

from pathlib import Path

from assets.builder import Group
from assets.checks import ACCOUNTED
from factory import figures
from factory.store.manifest import Manifest


def pictures(_: Manifest, folder: Path) -> dict[str, bytes | None]:
    """The loss curve."""
    return {"loss": figures.loss(folder)}


GROUP = Group("training", owner="team:training", checks=(ACCOUNTED,), figures=pictures)
