"""A real Slurm of two virtual nodes on 127.0.0.1: Debian's packages, daemons of our own, nothing in /etc or /run touched."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
NODES = ("n1", "n2")
# Short clocks: tests see a lost node in seconds. Partition `high` preempts `low`; `closed` is open to another account only.
CONFIGURATION = """
ClusterName=seedmill
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge/socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool.%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.%n.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd.%n.log
SlurmctldTimeout=10
SlurmdTimeout=5
MessageTimeout=5
KillWait=3
MinJobAge=600
ReturnToService=2
UnkillableStepTimeout=20
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ANY
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 MaxTime=60 State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP
PartitionName=closed Nodes=ALL AllowAccounts=physics MaxTime=60 State=UP
"""


def obstacle() -> str:
    """Why a Slurm cannot be brought up here; empty when it can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd needs root"


class VirtualSlurm:
    """The daemons; `base` is short, as a socket's path may have 107 characters only."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.base.chmod(0o755)
        host, (controller, first) = socket.gethostname().partition(".")[0], _free_ports()
        self.configuration = self.base / "slurm.conf"
        names = {"host": host, "base": self.base, "nodes": f"n[1-{len(NODES)}]"}
        ports = {"controller": controller, "first": first, "last": first + len(NODES) - 1}
        self.configuration.write_text(CONFIGURATION.format(**names, **ports))
        (self.base / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainCores=no\n"
        )  # named, as autodetection fails

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's commands need to find this cluster."""
        return {"SLURM_CONF": str(self.configuration), "GLOO_SOCKET_IFNAME": "lo"}

    def up(self) -> None:
        """Start all daemons and wait until every node is idle."""
        munge = self.base / "munge"
        munge.mkdir()
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o600)
        files = [f"--{kind}={munge / name}" for kind, name in (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"))]
        self._run("munged", "--force", *files, f"--log-file={munge / 'log'}", f"--seed-file={munge / 'seed'}", "--num-threads=2")
        (self.base / "state").mkdir()
        self.start_controller()
        for node in NODES:
            (self.base / f"spool.{node}").mkdir()
            self.start_node(node)

    def start_controller(self) -> None:
        self._run("slurmctld", "-f", str(self.configuration))

    def stop_controller(self) -> None:
        """Stop it as an update does. Killed, it would forget what it had not written to its state folder for some seconds."""
        self._kill(self.base / "slurmctld.pid", signal.SIGTERM)

    def start_node(self, node: str) -> None:
        """Start a node's daemon and wait until Slurm gives it jobs."""
        self._run("slurmd", "-N", node, "-f", str(self.configuration))
        wait_for(lambda: self.ask("sinfo", "-h", "-N", "-n", node, "-p", "low", "-o", "%T") == "idle")

    def kill_node(self, node: str) -> None:
        """Kill the daemon; the node's jobs go on, as on a node that has lost its network."""
        self._kill(self.base / f"slurmd.{node}.pid", signal.SIGKILL)

    def down(self) -> None:
        """End every job and daemon."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.ask("scancel", "--user=root")
            wait_for(lambda: not self.ask("squeue", "-h"))
        for path in (*sorted(self.base.glob("slurmd.*.pid")), self.base / "slurmctld.pid", self.base / "munge" / "pid"):
            self._kill(path, signal.SIGTERM)
        shutil.rmtree(self.base, ignore_errors=True)

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        return self._run(*command).stdout.strip()

    def jobs(self, states: str = "all") -> list[int]:
        """The numbers of the user's jobs, oldest first."""
        return sorted(int(line) for line in self.ask("squeue", "--me", "-h", f"--states={states}", "-o", "%i").split())

    @contextlib.contextmanager
    def hurrying(self, job: int) -> Iterator[None]:
        """Start the job again without the two minutes that Slurm waits after each requeue."""
        done = threading.Event()

        def hurry() -> None:
            while not done.wait(0.5):
                if self.ask("squeue", "-h", f"--jobs={job}", "-o", "%T %r") == "PENDING BeginTime":
                    self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

        thread = threading.Thread(target=hurry)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def restarts(self, job: int) -> int:
        """How often Slurm has started the job anew."""
        fields = self.ask("scontrol", "--oneliner", "show", "job", str(job)).split()
        return next(int(field.removeprefix("Restarts=")) for field in fields if field.startswith("Restarts="))

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)

    def _kill(self, path: Path, number: signal.Signals) -> None:
        if not path.exists():
            return
        with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            process = psutil.Process(int(path.read_text()))
            process.send_signal(number)
            wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)  # nobody may reap it


def _free_ports() -> tuple[int, int]:
    """A port for the controller, and the first of as many ports in a row as there are nodes.

    Drawn below the range that the kernel gives to clients: a port of that range may be taken between this look and its use.
    """
    while True:
        first = random.SystemRandom().randrange(20_000, 32_000)
        ports = range(first, first + len(NODES) + 1)
        if all(_is_free(port) for port in ports):
            return ports[-1], first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
