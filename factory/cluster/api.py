"""The door to a place that runs jobs: submit, find, follow, cancel, all by a key that never changes.

The key names the job for ever, so an orchestrator that was killed and started again finds the job that it left behind
instead of launching a second one. Everything the job says lies in files, which are followed by byte offset: nobody who
comes late misses a line, and nobody reads one twice.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from factory.errors import NO_ROOM, USER_ERROR, SeedmillError, no_room
from factory.spec import JobSpec, Result

LAST_LINES = 12
POLL_SECONDS = 0.2
BLOCK = 4096


class UnreachableError(SeedmillError):
    """The place that runs jobs cannot be asked just now; the jobs there may well go on."""


class Phase(StrEnum):
    """Where a job stands."""

    ABSENT = "absent"
    RUNNING = "running"
    FINISHED = "finished"
    DEAD = "dead"


@dataclass(frozen=True)
class JobState:
    """A job's phase; `folder` is where it works (the attempt), `status` and `detail` say how a dead one ended."""

    phase: Phase
    folder: Path | None = None
    status: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Offsets:
    """How many bytes of the message file and of the log have been read."""

    messages: int = 0
    log: int = 0


@dataclass(frozen=True)
class News:
    """What a job said since the offsets that were asked for; `offsets` are where to go on."""

    offsets: Offsets
    messages: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


class Launcher(Protocol):
    """A place that runs jobs."""

    def submit(self, key: str, spec: JobSpec) -> None:
        """Start the job unless one with this key runs, or has finished in the same folder."""
        ...

    def find(self, key: str) -> JobState:
        """Where the job stands, whoever started it."""
        ...

    def follow(self, key: str, offsets: Offsets) -> News:
        """The whole lines that the job wrote after `offsets`."""
        ...

    def cancel(self, key: str) -> None:
        """Ask the job to save and stop; kill it when it does not. Returns when it is gone."""
        ...


def uses_gpus(spec: JobSpec) -> bool:
    """Whether GPUs are of use to a job: training, whose section has a layout of ranks, and sampling on the device gpu."""
    return "layout" in spec.section or _samples_on_a_gpu(spec.section)


def _samples_on_a_gpu(section: dict[str, Any]) -> bool:
    return section.get("device") == "gpu" or any(_samples_on_a_gpu(value) for value in section.values() if isinstance(value, dict))


def attend(launcher: Launcher, key: str, listen: Callable[[dict[str, Any]], None]) -> Result:
    """Follow a submitted job to its end, passing every message (and log line, as kind `output`) to `listen`.

    An interrupt (Ctrl-C, a terminated Dagster run) cancels the job; a killed orchestrator leaves it running for the next
    one to find, and so does one that has lost touch for too long. Raises `SeedmillError` when the job died without a result.
    """
    try:
        state = _watch(launcher, key, listen)
    except UnreachableError as error:
        raise SeedmillError(f"lost touch with job {key}, which may well go on: {error}; run again to find it") from error
    except BaseException:
        launcher.cancel(key)
        raise
    if state.folder is None:
        raise SeedmillError(f"job {key} was never submitted, or its record was removed while it ran; run again")
    if state.phase is not Phase.FINISHED:
        raise _failure(key, state.folder, state)
    return Result.model_validate_json((state.folder / "result.json").read_bytes())


def _watch(launcher: Launcher, key: str, listen: Callable[[dict[str, Any]], None]) -> JobState:
    offsets = Offsets()
    while True:
        state = launcher.find(key)  # before the files are read: what a job wrote at its very end is not missed
        news = launcher.follow(key, offsets)
        offsets = news.offsets
        for message in news.messages:
            listen(message)
        for line in news.log:
            listen({"kind": "output", "text": line})
        if state.phase is not Phase.RUNNING:
            return state
        time.sleep(POLL_SECONDS)


def _failure(key: str, folder: Path, state: JobState) -> SeedmillError:
    """A user's mistake in the job's own words; anything else with its ending and the last lines of its log.

    What a job says of a full disk, it says into a log on that disk: so the disk is asked.
    """
    path = folder / "log.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:] if path.exists() else []
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if state.status == USER_ERROR and own:
        return SeedmillError(own[-1])
    if _is_full(folder):
        return no_room(folder)
    tail = "".join(f"\n  | {line}" for line in lines)
    return SeedmillError(f"job {key} {state.detail}; run again to go on from its last finished part{tail}")


def _is_full(folder: Path) -> bool:
    """Whether a block more can not be written here; a quota counts as the disk's end."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(BLOCK))
            probe.flush()
    except OSError as error:
        return error.errno in NO_ROOM
    return False
