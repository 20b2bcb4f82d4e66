"""Synthesis: what the teacher writes, validated, with every rejection counted."""

from pathlib import Path

from assets.builder import Group
from assets.checks import ACCOUNTED, NO_HELD_OUT, NOT_EMPTY
from factory import figures
from factory.store.manifest import Manifest


def pictures(manifest: Manifest, _: Path) -> dict[str, bytes | None]:
    """Which answers of the teacher were turned down, and why."""
    return {"kept and dropped": figures.drops(manifest)}


GROUP = Group("synthesis", owner="team:data", checks=(ACCOUNTED, NOT_EMPTY, NO_HELD_OUT), figures=pictures)
