"""Stages that are slow in their first start, so that tests have time to stop, kill and preempt them."""

import os
import time
from typing import Any

from factory.context import Context

RESTARTS = ("SLURM_RESTART_COUNT", "SEEDMILL_RESTART")


def count(context: Context) -> None:
    """Count to `section.to`; a number is a part that names its writer. Later starts do not pause."""
    to, restart = context.spec.section["to"], max(int(os.environ.get(name) or 0) for name in RESTARTS)
    pause = 0.0 if restart else context.spec.section.get("pause", 0.0)
    for number in range(to):
        if context.parts.find(f"n{number:04d}") is None:
            time.sleep(pause)
            with context.parts.writing(f"n{number:04d}") as path:
                path.write_text(f"{restart} {os.getpid()}")
        context.message("progress", done=number + 1, total=to, unit="numbers", restart=restart, pid=os.getpid())
    parts = [context.parts.find(name) for name in context.parts.names()]
    context.metrics["writers"] = sorted({int(path.read_text().split()[0]) for path in parts if path})
    context.write_json("numbers.json", {"to": to})


def pretrain(context: Context) -> None:
    """Pretraining, with a pause after each step while there is no checkpoint to go on from."""
    from factory.training import pretrain

    if not context.parts.names() and "pause" in context.runtime:
        say = context.progress

        def slowly(*arguments: Any, **metrics: float) -> None:
            say(*arguments, **metrics)
            time.sleep(context.runtime["pause"])

        context.progress = slowly  # type: ignore[method-assign]
    pretrain.run(context)
