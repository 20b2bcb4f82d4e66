"""The program of a Slurm batch job: `python -m factory.cluster.slurm_batch ATTEMPT`, on the first node of the allocation.

It claims a start (see `factory.cluster.starts`), runs one step with a task for each rank, and publishes the outputs. Slurm asks
the step to stop when it preempts the job or the time limit is near: the ranks save, and this program has the job queued again.
SIGTERM to this program alone is the launcher's cancel: the ranks save too, but the job ends.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from factory.cluster.starts import FRUITLESS_STARTS, begin, fruitless, publish, start_name
from factory.errors import SeedmillError
from factory.spec import JobSpec

STOPPED = 143
TRIES = 10
PAUSE_SECONDS = 5.0
REQUEUE_SECONDS = 120.0
RANK = """trap asked=1 TERM
export RANK="$SLURM_PROCID" LOCAL_RANK="$SLURM_LOCALID" WORLD_SIZE="$SLURM_NTASKS"
"$@"
status=$?
if [ "$asked" ] || [ $status -eq 143 ]; then : >"$0" && exit 0; fi
exit $status"""
"""A task of the step. What was asked to stop ends well and leaves a mark: after a bad exit Slurm would kill ranks that still save.
Slurm signals every process of a step, this shell too; a rank that is asked while it joins the others may fail in any way.
"""


class Batch:
    """One start of a job under Slurm."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.cancelled = False
        signal.signal(signal.SIGTERM, self._cancel)

    def run(self, attempt: Path) -> int:
        """Run the job to its result or as far as it gets; the exit status of the batch script."""
        spec = JobSpec.model_validate_json((attempt / "job.json").read_bytes())
        job = begin(spec, start_name(self.number, int(os.environ.get("SLURM_RESTART_COUNT", "0"))))
        if job is None:
            return 0
        status = STOPPED if self.cancelled else subprocess.run(_step(job), env=self._environment(job), check=False).returncode
        if (Path(job.folder) / "result.json").exists():
            publish(job)
            return 0
        if not self.cancelled and not _mark(job).exists():
            return status or 1
        if not self.cancelled and self._state() == "RUNNING":
            self._requeue(job)
        return STOPPED

    def _cancel(self, *_: object) -> None:
        """Ask the ranks to save and stop, for good. A step that has ended by itself is no error."""
        self.cancelled = True
        subprocess.run(["scancel", "--signal=TERM", str(self.number)], stderr=subprocess.DEVNULL, check=False)

    def _environment(self, job: JobSpec) -> dict[str, str]:
        environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads), "PYTHONUNBUFFERED": "1"}
        if job.processes > 1:
            environment |= {"MASTER_ADDR": _address(os.environ["SLURMD_NODENAME"]), "MASTER_PORT": str(_free_port())}
        return environment

    def _state(self) -> str:
        """The job's own state: RUNNING while Slurm gives it time to save, COMPLETING when somebody else has cancelled it."""
        return _ask("squeue", "--noheader", f"--jobs={self.number}", "--format=%T")

    def _requeue(self, job: JobSpec) -> None:
        """Have the job queued again; Slurm ends this process while it sleeps."""
        if fruitless(job) >= FRUITLESS_STARTS:
            raise SeedmillError(
                f"{job.key} was stopped {FRUITLESS_STARTS} times in a row before it had finished a part: "
                "lengthen cluster.time_limit, or choose a partition that preempts less"
            )
        _ask("scontrol", "requeue", str(self.number))
        deadline = time.monotonic() + REQUEUE_SECONDS
        while time.monotonic() < deadline and not self.cancelled:
            time.sleep(1)


def _step(job: JobSpec) -> list[str]:
    """One task for each rank, placed as the batch job asked. Slurm no longer passes cpus-per-task on to steps by itself."""
    return [
        *("srun", f"--cpus-per-task={os.environ['SLURM_CPUS_PER_TASK']}", "--mpi=none", "--kill-on-bad-exit=1", "--wait=0"),
        *("/bin/sh", "-c", RANK, str(_mark(job)), sys.executable, "-m", "factory.job", str(Path(job.folder) / "job.json")),
    ]


def _mark(job: JobSpec) -> Path:
    """A file that says that this start was asked to stop."""
    return Path(job.folder) / "stopped"


def _address(node: str) -> str:
    """The address of this node, where rank 0 runs too; the host name may be another, or that of a wrong network."""
    found = re.search(r"\bNodeAddr=(\S+)", _ask("scontrol", "--oneliner", "show", "node", node))
    return found[1] if found else node


def _free_port() -> int:
    """A port of this node that is free now. Every start takes another, so no old rank can join a newer start's world."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def _ask(*command: str) -> str:
    """What a command of Slurm answers; a controller that is busy or restarts is asked again."""
    tries = TRIES
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        tries -= 1
        if not tries:
            raise SeedmillError(f"`{' '.join(command)}` fails on {socket.gethostname()}: {done.stderr.strip()}")
        time.sleep(PAUSE_SECONDS)


def main(attempt: str) -> None:
    """Run the start; what goes wrong in it is one line at the end of the job's log."""
    try:
        sys.exit(Batch(int(os.environ["SLURM_JOB_ID"])).run(Path(attempt)))
    except SeedmillError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
