"""The program of a pod: `python -m factory.cluster.kubernetes_pod ATTEMPT`.

The first pod claims a start (see `factory.cluster.starts`), tells the others where it works and where its ranks meet, and
publishes the outputs. Every pod runs its share of the ranks. SIGTERM has all ranks save and this program end with status 143;
Kubernetes starts the set anew unless it was deleted.
"""

import itertools
import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from factory.cluster.kubernetes_objects import STOPPED
from factory.cluster.starts import FRUITLESS_STARTS, begin, fruitless, publish, start_name
from factory.errors import USER_ERROR, SeedmillError
from factory.spec import JobSpec
from factory.training.launch import run_together

PORT = 29401
PAUSE_SECONDS = 0.2
ANSWER_SECONDS = 10.0
LAST_LINES = 12
PEER_SECONDS = 5.0


@dataclass(frozen=True)
class World:
    """One start of the job: its folder, where its ranks meet, and which pods belong to it."""

    folder: str
    address: str
    port: int


class Pod:
    """One pod of one start."""

    def __init__(self, attempt: Path) -> None:
        self.attempt = attempt
        self.index, self.pods = int(os.environ["JOB_COMPLETION_INDEX"]), int(os.environ["SEEDMILL_PODS"])
        self.spec = JobSpec.model_validate_json((attempt / "job.json").read_bytes())
        self.stopped = threading.Event()

    def run(self) -> int:
        """Run this pod's ranks to the job's result or as far as they get; the pod's exit status."""
        world = self._lead() if self.index == 0 else self._join()
        if world is None:
            return 0
        own, mark = Path(world.folder), Path(world.folder) / "stopped"

        def asked() -> None:
            self.stopped.set()
            mark.touch()

        status = run_together(str(own / "job.json"), self._places(world), asked)
        if status == 0 and self.index == 0:
            publish(_job(own))
        if status == 0:
            return 0
        return STOPPED if status == STOPPED or self._was_stopped(mark, status) else status

    def _was_stopped(self, mark: Path, status: int) -> bool:
        """Whether this pod or a peer was asked to stop: ranks that lose a peer fail in any way, perhaps before its mark is seen."""
        if self.stopped.is_set() or self.pods == 1 or status == USER_ERROR:
            return self.stopped.is_set()
        deadline = time.monotonic() + PEER_SECONDS
        while not mark.exists() and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        return mark.exists()

    def _lead(self) -> World | None:
        """Claim the next start of this launch; None when an earlier one has finished the job."""
        job = self._claim()
        if job is None:
            return None
        if fruitless(job) > FRUITLESS_STARTS:
            raise SeedmillError(
                f"{job.key} was stopped {FRUITLESS_STARTS} times in a row before it had finished a part: "
                "lengthen cluster.time_limit_seconds, or choose a priority class that is preempted less"
            )
        world = World(job.folder, os.environ["SEEDMILL_ADDRESS"], _free_port())
        if self.pods > 1:
            serve(world, self.stopped)
        return world

    def _claim(self) -> JobSpec | None:
        """Begin the start; a set that was suspended and resumed comes here again under the same number."""
        name = start_name(int(os.environ["SEEDMILL_LAUNCH"]), int(os.environ.get("SEEDMILL_RESTART") or 0))
        for again in itertools.count():
            try:
                return begin(self.spec, f"{name}.{again:04d}")
            except FileExistsError:
                continue
        raise AssertionError

    def _join(self) -> World | None:
        """What the first pod says, as soon as it is there: it may wait for a node longer than this one."""
        while not (self.attempt / "result.json").exists():
            world = ask(os.environ["SEEDMILL_HEAD"])
            if world:
                return world
            time.sleep(PAUSE_SECONDS)
        return None

    def _places(self, world: World) -> list[dict[str, str]]:
        share = self.spec.processes // self.pods
        common = {"WORLD_SIZE": str(self.spec.processes), "MASTER_ADDR": world.address, "MASTER_PORT": str(world.port)}
        return [common | {"RANK": str(self.index * share + local), "LOCAL_RANK": str(local)} for local in range(share)]


def serve(world: World, stopped: threading.Event) -> socketserver.BaseServer:
    """Tell every pod of the same set where this start works and meets, until it is asked to stop.

    A set that is suspended and soon resumed may have a new pod beside the old first one, which still saves.
    """

    class Answer(socketserver.StreamRequestHandler):
        timeout = ANSWER_SECONDS

        def handle(self) -> None:
            if self.rfile.readline().decode().strip() == _set() and not stopped.is_set():
                self.wfile.write(json.dumps(asdict(world)).encode())

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in world.address else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

    server = Server((world.address, PORT), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def ask(host: str) -> World | None:
    """The world of the pod at `host`; None while there is none, or one of another set."""
    try:
        with socket.create_connection((host, PORT), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(f"{_set()}\n".encode())
            answer = b"".join(_pieces(connection))
        return World(**json.loads(answer)) if answer else None
    except (OSError, ValueError):  # nobody is there yet, or has just gone in mid-sentence
        return None


def _pieces(connection: socket.socket) -> Iterator[bytes]:
    while piece := connection.recv(4096):
        yield piece


def _set() -> str:
    """What all pods of one set share and no other set has: an old pod that starts late must not take a new one's place."""
    return f"{os.environ.get('SEEDMILL_SET', '')} {os.environ['SEEDMILL_LAUNCH']}"


def _job(start: Path) -> JobSpec:
    return JobSpec.model_validate_json((start / "job.json").read_bytes())


def _free_port() -> int:
    """A port that is free now. Every start takes another, so no old rank can join a newer start's world."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def _write_to(path: Path) -> None:
    """Let this process and its ranks write to a file on the shared folder, which outlives the pod."""
    with path.open("ab") as log:
        sys.stdout.write(f"seedmill: this pod writes to {path}\n")
        sys.stdout.flush()
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)


def _copy_end(source: Path, target: Path) -> None:
    """Add the last lines of another pod's log to the job's own: the orchestrator shows that one's end."""
    lines = source.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    with target.open("a", encoding="utf-8") as log:
        log.write("".join(f"{line}\n" for line in (f"the end of {source.name}:", *lines)))


def main(attempt: Path) -> int:
    """Run the pod; what goes wrong is the last line of its log, and of the job's."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    pod = Pod(attempt)
    log = attempt / ("log.txt" if pod.index == 0 else f"log.{pod.index}.txt")
    _write_to(log)
    try:
        status = pod.run()
    except SeedmillError as error:
        sys.stderr.write(f"error: {error}\n")
        status = USER_ERROR
    if pod.index and status not in {0, STOPPED}:
        sys.stderr.flush()
        _copy_end(log, attempt / "log.txt")
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
