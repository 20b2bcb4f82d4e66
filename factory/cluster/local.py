"""Jobs as processes of this machine, in sessions of their own: they outlive the orchestrator that started them.

A small shell stands between the orchestrator and the job. It starts the job only once its record is on disk (killed in
between, the orchestrator leaves nothing running that nobody knows of), and writes the job's exit status for whoever
comes later: only a parent could ask the kernel for it.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from factory.cluster.api import POLL_SECONDS, JobState, News, Offsets, Phase
from factory.cluster.files import read_news
from factory.parts import write_atomically
from factory.spec import JobSpec

GRACE_SECONDS = 20.0
MARK = "SEEDMILL_JOB"
# `trap :` lets the shell outlive the SIGTERM that its job answers by saving; `read` waits for the go-ahead.
SHELL = 'read -r go || exit 1; trap : TERM INT HUP; "$@" </dev/null; echo $? >"$0"'


@dataclass
class LocalLauncher:
    """Starts and finds jobs; `registry` holds one record and one lock for each key."""

    registry: Path
    grace_seconds: float = GRACE_SECONDS
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def submit(self, key: str, spec: JobSpec) -> None:
        """Start the job unless one with this key runs, or has finished in the same folder."""
        with self._lock(key):
            state = self.find(key)
            if state.phase is Phase.RUNNING or (state.phase is Phase.FINISHED and state.folder == Path(spec.folder)):
                return
            _kill_strays(self._mark(key))
            self._start(key, spec)

    def find(self, key: str) -> JobState:
        """Where the job stands; a zombie is dead, and so is a process number that another process has taken over."""
        for child in self._children:
            child.poll()
        record = self._read(key)
        if record is None:
            return JobState(Phase.ABSENT)
        folder = Path(record["folder"])
        if _alive(record):
            return JobState(Phase.RUNNING, folder)
        if (folder / "result.json").exists():
            return JobState(Phase.FINISHED, folder)
        status = _exit_status(folder / "exit")
        return JobState(Phase.DEAD, folder, status, _ending(status))

    def follow(self, key: str, offsets: Offsets) -> News:
        """The whole lines that the job wrote after `offsets`."""
        record = self._read(key)
        return News(offsets) if record is None else read_news(Path(record["folder"]), offsets)

    def cancel(self, key: str) -> None:
        """SIGTERM to the job's first process, and SIGKILL to all of them when they are not gone after the grace.

        The first process alone is told: it tells its ranks, and a process that is told twice
        would be interrupted while it saves.
        """
        record = self._read(key)
        if record is None or not _alive(record):
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(record["pid"])
            for child in leader.children():
                child.terminate()
        deadline = time.monotonic() + self.grace_seconds
        while _alive(record) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        _kill_strays(self._mark(key))

    def _start(self, key: str, spec: JobSpec) -> None:
        folder = Path(spec.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "exit").unlink(missing_ok=True)
        write_atomically(folder / "job.json", spec.model_dump_json(indent=1).encode())
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", SHELL, str(folder / "exit"), *command(spec)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": str(spec.threads), "PYTHONUNBUFFERED": "1", MARK: self._mark(key)},
            )
        self._children.append(process)
        created = psutil.Process(process.pid).create_time()
        record = {"key": key, "pid": process.pid, "created": created, "folder": str(folder)}
        write_atomically(self._path(key), json.dumps(record).encode())
        assert process.stdin is not None
        with process.stdin as go:
            go.write(b"go\n")

    def _path(self, key: str) -> Path:
        return self.registry / f"{key.replace('/', '.')}.json"

    def _mark(self, key: str) -> str:
        """What every process of the job carries in its environment: the key alone could be another workspace's too."""
        return str(self._path(key).resolve())

    def _read(self, key: str) -> dict[str, Any] | None:
        path = self._path(key)
        return json.loads(path.read_bytes()) if path.exists() else None

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Only one orchestrator at a time decides whether to start this key; the kernel frees the lock of a dead one."""
        self.registry.mkdir(parents=True, exist_ok=True)
        with self._path(key).with_suffix(".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def command(spec: JobSpec) -> list[str]:
    """The command line of a job; a job with several ranks starts them itself."""
    return [sys.executable, "-m", "factory.job", str(Path(spec.folder) / "job.json")]


def _alive(record: dict[str, Any]) -> bool:
    """Whether the recorded process still runs: same number, same start time (clocks are adjusted by less than 2 s)."""
    try:
        process = psutil.Process(record["pid"])
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - record["created"]) < 2
    except psutil.NoSuchProcess:
        return False


def _exit_status(path: Path) -> int | None:
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text else None


def _ending(status: int | None) -> str:
    """How a dead job ended, in words; a shell reports a signal as 128 and its number."""
    if status is None:
        return "was killed together with its supervising shell"
    if status == 128 + signal.SIGTERM:
        return "was cancelled (exit status 143)"
    names = {128 + s: s.name for s in signal.Signals}
    return f"was killed by {names[status]}" if status in names else f"ended with exit status {status} and without a result"


def _kill_strays(mark: str) -> None:
    """Kill what is left of a job and return when it is gone: no old writer beside a new one."""
    while strays := [process for process in psutil.process_iter() if _carries(process, mark)]:
        for process in strays:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.02)


def _carries(process: psutil.Process, mark: str) -> bool:
    """Whether a process belongs to the job; a zombie's environment is empty, and other users' jobs are not ours."""
    try:
        return process.environ().get(MARK) == mark
    except psutil.Error:
        return False
