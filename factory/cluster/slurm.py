"""Jobs of a Slurm cluster. The job's name is the key, so Slurm's own queue is the record of what runs.

Everything else lies in the attempt's folder, on a file system that the nodes share: what the job says, and the result that it
publishes last. A published result ends the watch at once; the queue is asked only every few seconds.
"""

import contextlib
import fcntl
import hashlib
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from factory.cluster.api import JobState, News, Offsets, Phase, UnreachableError, uses_gpus
from factory.cluster.config import SlurmConfig
from factory.cluster.files import read_news
from factory.cluster.slurm_commands import Job, SlurmCommands, secrets_here
from factory.cluster.watch import Watch
from factory.errors import SeedmillError
from factory.parts import write_atomically
from factory.spec import JobSpec

LAG_SECONDS = 60.0
"""How long a file that a node has written may stay unseen here: NFS clients cache a folder for up to a minute."""
KILL_SECONDS = 60.0


@dataclass
class SlurmLauncher:
    """Submits and finds jobs; `registry` holds the folder and one lock for each key."""

    config: SlurmConfig
    registry: Path
    _told: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slurm = SlurmCommands(self.config.ssh)
        self._watch = Watch(self._newest, lambda job: job and job.state, self.config.poll_seconds, self.config.patience_seconds)

    def submit(self, key: str, spec: JobSpec) -> None:
        """Queue the job unless one with this key waits or runs, or has finished in the same folder."""
        with self._lock(key):
            self._watch.forget(key)
            state = self.find(key)
            if state.phase is Phase.RUNNING or (state.phase is Phase.FINISHED and state.folder == Path(spec.folder)):
                return
            folder = Path(spec.folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "job.json", spec.model_dump_json(indent=1).encode())
            write_atomically(self._path(key), json.dumps({"key": key, "folder": str(folder)}).encode())
            self._watch.patiently(lambda: self._queue(key, spec))
            self._watch.forget(key)

    def find(self, key: str) -> JobState:
        """Where the job stands. While Slurm cannot be asked, as it was last seen; after a while UnreachableError."""
        folder = self._folder(key)
        if folder is None:
            return JobState(Phase.ABSENT)
        if (folder / "result.json").exists():
            return JobState(Phase.FINISHED, folder)
        look = self._watch.look(key)
        if look.seen is None:
            return JobState(Phase.DEAD, folder, None, "is not in Slurm's queue: it was cancelled, or ended long ago without a result")
        if look.seen.active or (look.seen.state == "COMPLETED" and look.asked - look.since < LAG_SECONDS):
            return JobState(Phase.RUNNING, folder)
        return self._dead(look.seen, folder)

    def follow(self, key: str, offsets: Offsets) -> News:
        """The whole lines that the job wrote after `offsets`, and what the queue says of it when that has changed."""
        folder = self._folder(key)
        if folder is None:
            return News(offsets)
        news = read_news(folder, offsets)
        look = self._watch.last(key)
        text = _words(look.seen) if look and look.seen else ""
        if text and self._told.get(key) != text:
            self._told[key] = text
            news.messages.append({"kind": "log", "text": text})
        return news

    def cancel(self, key: str) -> None:
        """Take the job from the queue, or have it save and end; after `save_seconds`, Slurm kills it."""
        deadline = time.monotonic() + self.config.save_seconds
        asked: set[int] = set()
        while active := [job for job in self._watch.patiently(lambda: self.slurm.jobs(self._name(key))) if job.active]:
            late = time.monotonic() > deadline
            for job in active:
                if job.waits or late:
                    self.slurm.cancel(job.number)
                elif job.number not in asked:
                    self.slurm.ask_to_stop(job.number)
                    asked.add(job.number)
            if time.monotonic() > deadline + KILL_SECONDS:
                break  # a node that is out of reach holds the job back; what may still run there is fenced
            time.sleep(min(1.0, self.config.poll_seconds))
        self._watch.forget(key)

    def _queue(self, key: str, spec: JobSpec) -> None:
        """Submit the job, unless an earlier try did, whose answer was lost on the way."""
        if any(job.active for job in self.slurm.jobs(self._name(key))):
            return
        secrets = secrets_here(self.config.secrets)
        self._watch.met()  # a host that has just answered is asked again when the next answer is lost
        try:
            self.slurm.submit(self._options(key, spec), self._script(spec), secrets)
        except UnreachableError:
            raise
        except SeedmillError as error:
            asked = f"partition {self._partition(spec) or 'default'}, account {self.config.account or 'default'}"
            raise SeedmillError(f"Slurm refuses {key} ({asked}): {error}; mend the recipe's section `cluster`") from error

    def _options(self, key: str, spec: JobSpec) -> list[str]:
        """`singleton` holds back a second job of the same name, should two orchestrators ever submit at once."""
        nodes = -(-spec.processes // self.config.ranks_per_node)
        if spec.processes % nodes:
            raise SeedmillError(
                f"{spec.processes} ranks do not divide evenly over {nodes} nodes: "
                f"change cluster.ranks_per_node ({self.config.ranks_per_node}) or the layout"
            )
        gpus = spec.processes // nodes * self.config.gpus_per_rank if uses_gpus(spec) else 0
        chosen = {"partition": self._partition(spec), "account": self.config.account, "time": self.config.time_limit}
        return [
            *(f"--job-name={self._name(key)}", "--dependency=singleton", "--requeue", f"--chdir={Path.cwd()}"),
            *(f"--output={_literal(Path(spec.folder) / 'log.txt')}", "--open-mode=append", f"--signal=TERM@{self.config.save_seconds}"),
            *(f"--nodes={nodes}", f"--ntasks={spec.processes}", f"--ntasks-per-node={spec.processes // nodes}"),
            f"--cpus-per-task={max(spec.threads, self.config.cores_per_rank)}",
            *([f"--gpus-per-node={gpus}"] if gpus else []),
            *(f"--{name}={value}" for name, value in chosen.items() if value),
            *self.config.options,
        ]

    def _partition(self, spec: JobSpec) -> str:
        return (self.config.gpu_partition if uses_gpus(spec) else "") or self.config.partition

    def _script(self, spec: JobSpec) -> str:
        run = shlex.join([self.config.python, "-m", "factory.cluster.slurm_batch", spec.folder])
        return "\n".join(["#!/bin/sh", *self.config.setup, f"exec {run}", ""])

    def _newest(self, key: str) -> Job | None:
        """The active job of this name, or else the last one."""
        jobs = self.slurm.jobs(self._name(key))
        return max(jobs, key=lambda job: (job.active, job.number), default=None)

    def _dead(self, job: Job, folder: Path) -> JobState:
        status = self._watch.patiently(lambda: self.slurm.exit_status(job.number))
        if job.state == "COMPLETED":
            return JobState(Phase.DEAD, folder, status, f"completed, but {folder} shows no result: do nodes and this machine share it?")
        ending = "" if status is None else f", exit status {status}"
        return JobState(Phase.DEAD, folder, status, f"ended as Slurm job {job.number}: {job.state} ({job.reason}{ending})")

    def _name(self, key: str) -> str:
        """The job's name: the key, and the workspace, as another one may hold the same key."""
        workspace = hashlib.blake2b(str(self.registry.resolve()).encode(), digest_size=4).hexdigest()
        return f"{key.replace(',', '_')}.{workspace}"

    def _path(self, key: str) -> Path:
        return self.registry / f"{key.replace('/', '.')}.slurm.json"

    def _folder(self, key: str) -> Path | None:
        path = self._path(key)
        return Path(json.loads(path.read_bytes())["folder"]) if path.exists() else None

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Only one orchestrator at a time decides whether to submit this key; the kernel frees the lock of a dead one."""
        self.registry.mkdir(parents=True, exist_ok=True)
        with self._path(key).with_suffix(".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _words(job: Job) -> str:
    """What the queue says of a job, for the people who watch it."""
    where = f" on {job.nodes}" if job.nodes else ""
    why = f" ({job.reason})" if job.waits and job.reason != "None" else ""
    return f"Slurm job {job.number} is {job.state.lower().replace('_', ' ')}{where}{why}"


def _literal(path: Path) -> str:
    """A path for --output, where sbatch would fill in what follows a %."""
    return str(path).replace("%", "%%")
