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
    secrets: tuple[str, ...] = ()
    """Names of variables that jobs get from this process. Their values go over standard input: a command line is there for all to read."""
    seconds: float = ANSWER_SECONDS

    def version(self) -> str:
        """Which Slurm it is."""
        return self._run("sbatch", "--version").strip()

    def submit(self, options: list[str], script: str) -> int:
        """Queue a batch script; the job's number."""
        exported = ["--export=ALL"] if self.secrets else []
        return int(self._run("sbatch", "--parsable", *exported, *options, script=script, secrets=_values(self.secrets)).partition(";")[0])

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
        line = list(command)
        if self.ssh:  # sshd gives a command none of this environment; here, a command has it anyway
            line = [*SSH, self.ssh, "--", shlex.join(_reading(secrets, command) if secrets else command)]
            script = "".join(f"{value}\n" for value in (secrets or {}).values()) + script
        try:
            done = subprocess.run(line, input=script, capture_output=True, text=True, timeout=self.seconds, check=False)
        except FileNotFoundError as error:
            raise _missing(line[0]) from error
        except subprocess.TimeoutExpired as error:
            raise UnreachableError(f"{command[0]} gave no answer in {self.seconds:.0f} s") from error
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.strip()
        if OUT_OF_REACH.search(said) or (self.ssh and done.returncode == SSH_FAILED and not said.startswith(f"{command[0]}:")):
            raise UnreachableError(f"Slurm is out of reach ({'ssh ' + self.ssh if self.ssh else command[0]}: {_last(said)})")
        if done.returncode == NOT_FOUND:
            raise _missing(command[0], self.ssh)
        if UNCONFIGURED.search(said):
            raise SeedmillError(
                f"{command[0]} finds no configuration of a cluster {'on ' + self.ssh if self.ssh else 'here'}: "
                "set SLURM_CONF there to the path of its slurm.conf, or name a login node in cluster.ssh"
            )
        if check:
            raise SeedmillError(_last(said) or f"{command[0]} ended with status {done.returncode}")
        return done.stdout


def _values(names: tuple[str, ...]) -> dict[str, str]:
    """The values of these variables here. Raises SeedmillError, which shows none of them."""
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
    lines = said.splitlines()
    return re.sub(r"^\w+: (error: |fatal: )?", "", lines[-1]) if lines else ""
