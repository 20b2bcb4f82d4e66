"""Stages that do next to nothing, for jobs that tests start, kill and find again."""

import os
import signal
import sys
import time

from factory.context import Context
from factory.errors import SeedmillError


def count(context: Context) -> None:
    """Count to `section.to` with `section.pause` seconds between numbers, going on from finished parts."""
    to, pause = context.spec.section["to"], context.spec.section["pause"]
    sys.stdout.write("counting\n")
    for number in range(to):
        if context.parts.find(f"n{number}") is None:
            time.sleep(pause)
            with context.parts.writing(f"n{number}") as path:
                path.write_text(str(os.getpid()))
        context.message("progress", done=number + 1, total=to, unit="numbers")
    context.made("numbers", to)
    context.write_json("numbers.json", {"to": to})


def refuse(context: Context) -> None:
    """Find a user's mistake."""
    raise SeedmillError("the section names no source; add one")


def die(context: Context) -> None:
    """End as the kernel's out-of-memory killer ends a process."""
    sys.stderr.write("about to need too much memory\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def stubborn(context: Context) -> None:
    """Ignore the request to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.message("progress", done=0, total=1, unit="things")
    time.sleep(60)


def meet(context: Context) -> None:
    """Say how many ranks there are."""
    sys.stdout.write("a rank is here\n")
    context.made("meetings")
    context.metrics["world_size"] = int(os.environ["WORLD_SIZE"])
