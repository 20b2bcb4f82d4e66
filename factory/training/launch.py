"""Start the ranks of a job on this machine, and make one outcome of theirs.

Lighter than torchrun (no torch is imported here: 2 CPU-seconds less), with what a training job needs of it: ranks end together
when one fails, a request to stop reaches all, and none outlives this process.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

RENDEZVOUS = "SEEDMILL_RENDEZVOUS"
POLL_SECONDS = 0.2
GRACE_SECONDS = 30.0


def run_ranks(job: str, processes: int) -> int:
    """Run `python -m factory.job JOB` as ranks 0..processes-1 of a world of their own; the exit status of `run_together`."""
    with tempfile.TemporaryDirectory(prefix=".ranks-", dir=Path(job).parent) as folder:
        rendezvous = str((Path(folder) / "rendezvous").resolve())
        world = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)} for rank in range(processes)]
        return run_together(job, [{**place, RENDEZVOUS: rendezvous} for place in world])


def run_together(job: str, places: list[dict[str, str]], asked: Callable[[], object] = lambda: None) -> int:
    """Run `python -m factory.job JOB` once for each place in the world, given as the variables that name it.

    Returns the first exit status that is not 0, or 0. A rank that fails takes the others with it: SIGTERM, and after
    `GRACE_SECONDS` SIGKILL. On SIGTERM to this process `asked` is called, the signal is passed on, and the ranks' own status
    (143 once they have saved) is returned.
    """
    ranks = [_start(job, place) for place in places]

    def stop(*_: object) -> None:
        asked()
        _send(ranks, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    return _wait(ranks)


def _start(job: str, place: dict[str, str]) -> subprocess.Popen[bytes]:
    """One rank. Its standard input is a pipe that ends when this process does, however it does: see `end_with_launcher`."""
    return subprocess.Popen([sys.executable, "-m", "factory.job", job], env=os.environ | place, stdin=subprocess.PIPE)


def _wait(ranks: list[subprocess.Popen[bytes]]) -> int:
    while all(rank.poll() in {None, 0} for rank in ranks) and any(rank.poll() is None for rank in ranks):
        time.sleep(POLL_SECONDS)
    status = next((rank.returncode for rank in ranks if rank.returncode), 0)
    if status:
        _end(ranks)
    return status if status >= 0 else 128 - status


def _end(ranks: list[subprocess.Popen[bytes]]) -> None:
    """Let the remaining ranks stop, then make them."""
    _send(ranks, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    for rank in ranks:
        try:
            rank.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def _send(ranks: list[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for rank in ranks:
        if rank.poll() is None:
            rank.send_signal(number)


def end_with_launcher() -> None:
    """In a rank that `run_ranks` started: end at once when the launcher is gone, even killed; elsewhere do nothing."""
    if RENDEZVOUS in os.environ:
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()


def _exit_at_end_of_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
