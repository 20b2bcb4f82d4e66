"""Slurm's own commands, here or on another host over ssh, and what their failures mean.

Only sbatch, squeue, scontrol and scancel are used: sacct needs an accounting database, which many small clusters lack.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from factory.cluster.api import UnreachableError
from factory.errors import SeedmillError

ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
SSH_FAILED = 255
NOT_FOUND = 127
ANSWER_SECONDS = 60.0
OUT_OF_REACH = re.compile(
    r"unable to contact|socket timed out|connection refused|connection reset|zero bytes were|standby mode|temporarily unavailable"
    r"|communication connection failure|connect failure",
    re.IGNORECASE,
)
"""What Slurm's commands say when the controller is down, restarts, or is too busy to answer."""
UNCONFIGURED = re.compile(r"could not establish a configuration source|unable to process configuration file", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """A line of the queue; Slurm keeps an ended job in it for some minutes (MinJobAge)."""

    number: int
    state: str
    reason: str
    nodes: str

    @property
    def active(self) -> bool:
        """Whether the job waits, runs, or is being ended."""
        return self.state not in ENDED

    @property
    def waits(self) -> bool:
        """Whether no process of it exists."""
        return self.state == "PENDING"


@dataclass(frozen=True)
class SlurmCommands:
    """Runs Slurm's commands; raises UnreachableError where trying again may help, and SeedmillError where it cannot."""

    ssh: str = ""
    seconds: float = ANSWER_SECONDS

    def version(self) -> str:
        """Which Slurm it is."""
        return self._run("sbatch", "--version").strip()

    def submit(self, options: list[str], script: str, secrets: dict[str, str]) -> int:
        """Queue a batch script whose job gets the variables `secrets`; the job's number."""
        exported = ["--export=ALL"] if secrets else []
        return int(self._run("sbatch", "--parsable", *exported, *options, script=script, secrets=secrets).partition(";")[0])

    def jobs(self, name: str) -> list[Job]:
        """The user's jobs of this name, ended ones too, oldest first."""
        lines = self._run("squeue", "--me", "--noheader", "--states=all", f"--name={name}", "--format=%i|%T|%r|%N").splitlines()
        jobs = [Job(int(number), state, reason, nodes) for number, state, reason, nodes in (line.strip().split("|") for line in lines)]
        return sorted(jobs, key=lambda job: job.number)

    def exit_status(self, number: int) -> int | None:
        """The exit status of an ended job (128 and the signal's number where one killed it); None once Slurm has forgotten it."""
        try:
            record = self._run("scontrol", "--oneliner", "show", "job", str(number))
        except UnreachableError:
            raise
        except SeedmillError:
            return None
        found = re.search(r"\bExitCode=(\d+):(\d+)", record)
        return None if found is None else int(found[1]) or (128 + int(found[2]) if int(found[2]) else 0)

    def ask_to_stop(self, number: int) -> None:
        """SIGTERM to the batch script alone, which has the ranks save."""
        self._cancel("--batch", "--signal=TERM", str(number))

    def cancel(self, number: int) -> None:
        """End the job now, or take it from the queue."""
        self._cancel(str(number))

    def _cancel(self, *arguments: str) -> None:
        """--quiet: a job that ended in between is no failure, and the queue tells whether it has gone."""
        self._run("scancel", "--quiet", *arguments, check=False)

    def _run(self, *command: str, script: str = "", secrets: dict[str, str] | None = None, check: bool = True) -> str:
        line, given = self._call(command, secrets or {})
        try:
            done = subprocess.run(line, input=given + script, capture_output=True, text=True, timeout=self.seconds, check=False)
        except FileNotFoundError as error:
            raise _missing(line[0]) from error
        except subprocess.TimeoutExpired as error:
            raise UnreachableError(f"{command[0]} gave no answer in {self.seconds:.0f} s") from error
        if done.returncode and (trouble := self._trouble(command[0], done)):
            raise trouble
        if done.returncode and check:
            raise SeedmillError(_last(done.stderr) or f"{command[0]} ended with status {done.returncode}")
        return done.stdout

    def _call(self, command: tuple[str, ...], secrets: dict[str, str]) -> tuple[list[str], str]:
        """The words that run a command, and what it reads first. Over ssh it has none of this process's environment; here, all of it.

        Values of secrets go over standard input, a line each: a command line is there for all to read.
        """
        if not self.ssh:
            return list(command), ""
        there = _reading(secrets, command) if secrets else command
        return [*SSH, self.ssh, "--", shlex.join(there)], "".join(f"{value}\n" for value in secrets.values())

    def _trouble(self, program: str, done: subprocess.CompletedProcess[str]) -> SeedmillError | None:
        """What kept a command from doing its work at all; None where it was refused."""
        said = done.stderr.strip()
        if OUT_OF_REACH.search(said) or (self.ssh and done.returncode == SSH_FAILED and not said.startswith(f"{program}:")):
            return UnreachableError(f"Slurm is out of reach ({'ssh ' + self.ssh if self.ssh else program}: {_last(said)})")
        if done.returncode == NOT_FOUND:
            return _missing(program, self.ssh)
        if UNCONFIGURED.search(said):
            where = f"on {self.ssh}" if self.ssh else "here"
            remedy = "set SLURM_CONF there to the path of its slurm.conf, or name a login node in cluster.ssh"
            return SeedmillError(f"{program} finds no configuration of a cluster {where}: {remedy}")
        return None


def secrets_here(names: tuple[str, ...]) -> dict[str, str]:
    """The values of `cluster.secrets` in this process. Raises SeedmillError, which shows none of them."""
    unset = [name for name in names if name not in os.environ]
    if unset:
        raise SeedmillError(f"{', '.join(unset)} of cluster.secrets is not set here: export it, or take it from the list")
    broken = [name for name in names if "\n" in os.environ[name]]
    if broken:
        raise SeedmillError(f"{', '.join(broken)} of cluster.secrets holds a line break: give it in one line")
    return {name: os.environ[name] for name in names}


def _reading(names: Iterable[str], command: tuple[str, ...]) -> list[str]:
    """A command that takes a line of standard input for each variable first; a shell's `read` takes no byte beyond its line."""
    steps = [f"IFS= read -r {name} && export {name}" for name in names]
    return ["/bin/sh", "-c", " && ".join([*steps, f"exec {shlex.join(command)}"])]


def _missing(program: str, host: str = "") -> SeedmillError:
    where = f"on {host}" if host else "on the path"
    return SeedmillError(f"no {program} {where}: run on a login node of the cluster, or name one in cluster.ssh")


def _last(said: str) -> str:
    """The last line of what a command said, which is the reason, without the command's name."""
    lines = said.strip().splitlines()
    return re.sub(r"^\w+: (error: |fatal: )?", "", lines[-1]) if lines else ""
