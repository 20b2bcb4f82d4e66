"""`factory run`: starts the orchestrator as a process of its own, watches what it says, and reports at the end.

The library must not know the orchestrator, so the two meet in a command line and a file of events. The orchestrator has a
session of its own: Ctrl-C in the terminal reaches us alone, and we ask it to stop, so that every running stage can save.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from factory.cli import show
from factory.cli.board import Board
from factory.cli.live import LiveView, PlainView, View
from factory.cli.session import Session
from factory.cli.words import duration, open_console
from factory.cluster.files import new_lines
from factory.errors import SeedmillError, explaining_a_full_disk, no_room
from factory.graph import build, select
from factory.job import TERMINATED
from factory.parts import write_atomically

INTERRUPTED = 130
POLL_SECONDS = 0.2
SECONDS_BETWEEN_SAMPLES = 1.0
LEAST_FREE = 1 << 20


@dataclass(frozen=True)
class RunOptions:
    """What a user asks of a run."""

    recipe: Path
    seed: int | None
    assets: tuple[str, ...]
    group: str | None
    rebuild: tuple[str, ...]
    live: bool

    @property
    def words(self) -> list[str]:
        """The selection in the words that the orchestrator and `factory.graph.select` know: each with all that it needs."""
        return [f"+{word}" for word in (*self.assets, *self.rebuild, *([self.group] if self.group else []))]


def run_experiment(options: RunOptions, *, as_json: bool) -> int:
    """Run, watch and report; returns the exit status. Raises SeedmillError with what the orchestrator said was wrong."""
    session = Session.open(options.recipe, options.seed)
    stages = build(session.recipe)
    names = select(stages, [word.replace(f"+{session.recipe.name}/", "+") for word in options.words])
    with explaining_a_full_disk(session.recipe.workspace):
        return _run(options, session, Board({name: stages[name].group for name in names}), as_json=as_json)


def _run(options: RunOptions, session: Session, board: Board, *, as_json: bool) -> int:
    folder = session.runs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    folder.mkdir(parents=True)
    console = open_console(stderr=as_json)
    view: View = LiveView(board, console) if options.live and console.is_terminal else PlainView(board, console)
    run = Run(command(options, folder), folder)
    with view.screen if isinstance(view, LiveView) else nullcontext():
        status = run.watch(board, view)
    summary = run.summary(status, board)
    if summary["made"]:  # one that found all fresh must not hide what making it took
        write_atomically(session.runs / "last.json", json.dumps(summary, indent=1).encode())
    if status == TERMINATED:
        console.print("stopped: what was finished is kept, and the same command goes on from there", highlight=False)
        return INTERRUPTED
    if status:
        raise SeedmillError(run.complaint(board))
    if not summary["made"]:
        console.print(f"nothing was to be made: all of it was fresh ({duration(summary['wall_seconds'])})", highlight=False)
    result = session.report()
    if as_json:
        sys.stdout.write(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    else:
        show.report(result, console)
    return 0


def command(options: RunOptions, folder: Path) -> list[str]:
    """The command line of the orchestrator."""
    seed = [] if options.seed is None else ["--seed", str(options.seed)]
    selected = [part for word in options.words for part in ("--select", word)]
    again = [part for name in options.rebuild for part in ("--rebuild", name)]
    events = ["--events", str(folder / "events.jsonl")]
    return [sys.executable, "-m", "assets.run", str(options.recipe), *seed, *selected, *again, *events]


class Run:
    """The orchestrator's process, what it says, and what it and its children took."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self.started = datetime.now(UTC)
        self.load = os.getloadavg()[0]
        self.cpu_before = children_cpu_seconds()
        self.peak_rss_bytes = 0
        self._sampled = 0.0
        with (folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def watch(self, board: Board, view: View) -> int:
        """Follow the run to its end; the first interrupt asks it to save and stop, the second kills it."""
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        events = self.events()
        try:
            self._follow(events, board, view)
        except KeyboardInterrupt:
            view.note("stopping: running stages save what they have (Ctrl-C again kills them)")
            self._stop(events, board, view)
            return TERMINATED
        finally:
            signal.signal(signal.SIGTERM, previous)
        return self.process.wait()

    def _stop(self, events: Iterator[list[dict[str, Any]]], board: Board, view: View) -> None:
        self.process.terminate()
        try:
            self._follow(events, board, view)
        except KeyboardInterrupt:
            self.process.kill()
        self.process.wait()

    def _follow(self, events: Iterator[list[dict[str, Any]]], board: Board, view: View) -> None:
        ended = False
        while not ended:
            ended = self.process.poll() is not None  # before the events are read: the last ones are not missed
            for event in next(events):
                board.hear(event)
                view.show(event)
            self._sample()
            if not ended:
                time.sleep(POLL_SECONDS)

    def events(self) -> Iterator[list[dict[str, Any]]]:
        """What the run said since the last look, for ever."""
        offset = 0
        while True:
            lines, offset = new_lines(self.folder / "events.jsonl", offset)
            yield [event for line in lines if (event := _event(line))]

    def _sample(self) -> None:
        """Look at the memory of the process tree now and then; shared pages count for each process."""
        if time.monotonic() - self._sampled < SECONDS_BETWEEN_SAMPLES:
            return
        self._sampled = time.monotonic()
        try:
            tree = [root := psutil.Process(self.process.pid), *root.children(recursive=True)]
            self.peak_rss_bytes = max(self.peak_rss_bytes, sum(process.memory_info().rss for process in tree))
        except psutil.Error:
            return  # a process ended between being listed and being asked

    def summary(self, status: int, board: Board) -> dict[str, Any]:
        """How many assets the run made, and what it took over all its processes."""
        return {
            "started": self.started.isoformat(timespec="seconds"),
            "status": status,
            "made": sum(line.state == "done" for line in board.lines.values()),
            "wall_seconds": time.monotonic() - self.began,
            "cpu_seconds": children_cpu_seconds() - self.cpu_before,
            "peak_rss_bytes": self.peak_rss_bytes,
            "load": [self.load, os.getloadavg()[0]],
        }

    def complaint(self, board: Board) -> str:
        """What went wrong, in one line, and where the rest stands."""
        log = self.folder / "log.txt"
        if shutil.disk_usage(self.folder).free < LEAST_FREE:  # whoever stumbled over it first, the orchestrator's database included
            return f"{no_room(self.folder)} (log: {log})"
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.startswith("error: ")]
        reasons = [f"{line.asset}: {line.error.splitlines()[0] if line.error else 'failed'}" for line in board.failed]
        reasons = reasons or [line.removeprefix("error: ") for line in said]
        return f"{'; '.join(reasons) or f'the run ended with exit status {self.process.returncode}'} (log: {log})"


def _event(line: str) -> dict[str, Any] | None:
    """What a line says; None for what a full disk left of one."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def children_cpu_seconds() -> float:
    """CPU time of all finished descendants, user and system."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
