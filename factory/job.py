"""The program of every job: `python -m factory.job FOLDER/job.json`.

It runs one stage's function and writes `result.json` last. Imports of the stage come inside `main`: the module is
re-imported by every spawned worker, and the stages that need torch would make each of them pay for it.
"""

import importlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from factory.context import Context, Listener
from factory.errors import USER_ERROR, SeedmillError, explaining_a_full_disk
from factory.parts import write_atomically
from factory.spec import JobSpec, Result
from factory.training.launch import end_with_launcher, run_ranks

TERMINATED = 143


def run_stage(spec: JobSpec, listen: Listener | None = None) -> Result:
    """Run a stage's function here and write its result.

    The function lives at `spec.run` ("module:function") and takes the context. Every rank of a job calls it, whoever started
    them (`main` here, torchrun, srun), and only rank 0 writes the result. `listen` is called with each message as well (an
    orchestrator that runs the stage itself).
    """
    function = load(spec.run)
    start = cpu_seconds()
    writes = os.environ.get("RANK", "0") == "0"
    with explaining_a_full_disk(Path(spec.folder)):
        context = Context.of(spec, listen, writes=writes)
        function(context)
        result = context.result().model_copy(update={"cpu_seconds": cpu_seconds() - start, "peak_rss_bytes": peak_rss_bytes()})
        if writes:
            write_atomically(Path(spec.folder) / "result.json", result.model_dump_json(indent=1).encode())
    return result


def load(path: str) -> Callable[[Context], None]:
    """The function that "module:function" names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def cpu_seconds() -> float:
    """CPU time of this process and of its finished children, user and system."""
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def peak_rss_bytes() -> int:
    """The largest resident set of this process or of one of its finished children."""
    return 1024 * max(u.ru_maxrss for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def _charge_all_ranks(path: Path) -> None:
    """Rank 0 knows only its own time; this process waited for all of them."""
    result = Result.model_validate_json(path.read_bytes()).model_copy(update={"cpu_seconds": cpu_seconds()})
    write_atomically(path, result.model_dump_json(indent=1).encode())


def _terminate(*_: object) -> None:
    sys.exit(TERMINATED)


def main(path: str) -> None:
    """Run the job that a specification file describes; a user's mistake is one line and exit status 64."""
    signal.signal(signal.SIGTERM, _terminate)
    spec = JobSpec.model_validate_json(Path(path).read_bytes())
    os.environ.setdefault("OMP_NUM_THREADS", str(spec.threads))
    if spec.processes > 1 and "RANK" not in os.environ:
        status = run_ranks(path, spec.processes)
        if status == 0:
            _charge_all_ranks(Path(spec.folder) / "result.json")
        sys.exit(status)
    end_with_launcher()
    try:
        run_stage(spec)
    except SeedmillError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main(sys.argv[1])
