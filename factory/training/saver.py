"""Checkpoints to resume from, written by a thread while training goes on.

A thread writes files and nothing else. What the ranks must do together, planning before and sealing after, happens between steps,
on the main thread and in the same step on every rank: two threads with collectives on one group deadlock sooner or later.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch.distributed as dist

from factory.context import Context
from factory.training.checkpoint import Writing
from factory.training.distributed import from_main, is_main

PREFIX = "step-"


def part_name(step: int) -> str:
    """The name of the part that holds the checkpoint after `step` steps."""
    return f"{PREFIX}{step:08d}"


class Saver:
    """At most one part on its way to the disk, and the newest `keep` that are there. Every rank calls each method, at the same steps."""

    def __init__(self, context: Context, keep: int) -> None:
        self._parts, self._keep = context.parts, keep
        self._name = ""
        self._writing: Writing | None = None
        self.seconds = 0.0
        """For which training stood still."""

    def newest(self) -> Path | None:
        """The newest whole part of this attempt or an earlier one; what a killed process left half written is cleared away."""
        if is_main():
            for path in self._parts.own.glob(f".{PREFIX}*"):
                shutil.rmtree(path)
        names = [name for name in self._parts.names() if name.startswith(PREFIX)]
        return from_main(self._parts.find(names[-1]) if names else None)

    @property
    def busy(self) -> bool:
        """Whether this rank still writes."""
        return self._writing is not None and not self._writing.written

    def begin(self, step: int, write: Callable[[Path], Writing]) -> None:
        """Let `write` begin a checkpoint in a new folder, which becomes the part of `step` when it is settled; the one before is, first."""
        self.settle()
        started, self._name = time.monotonic(), part_name(step)
        folder = from_main(self._parts.staging(self._name))
        with self._clearing(folder):
            if is_main():
                folder.mkdir()
            self._writing = write(folder)
        self.seconds += time.monotonic() - started

    def settle(self) -> None:
        """Wait for the part that is being written, if one is, and make it whole; a full disk leaves the parts before as they were."""
        if self._writing is None:
            return
        started, writing, self._writing = time.monotonic(), self._writing, None
        with self._clearing(self._parts.staging(self._name)):
            writing.finish()
            if is_main():
                self._parts.publish(self._name)
        if is_main():
            for path in sorted(self._parts.own.glob(f"{PREFIX}*"))[: -self._keep]:
                self._parts.drop(path.name)
        dist.barrier()
        self.seconds += time.monotonic() - started

    @staticmethod
    @contextlib.contextmanager
    def _clearing(folder: Path) -> Iterator[None]:
        """Half a checkpoint would keep a full disk full."""
        try:
            yield
        except OSError:
            if is_main():
                shutil.rmtree(folder, ignore_errors=True)
            raise
