"""A real ssh server on 127.0.0.1, with keys, port and configuration of its own in a folder; nothing in /etc/ssh is read."""

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from services import free_port

PROGRAMS = ("sshd", "ssh", "ssh-keygen")
PRIVILEGES = Path("/run/sshd")
SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
SetEnv PATH={path} SLURM_CONF={slurm}
"""
CLIENT = """
Host login
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  StrictHostKeyChecking accept-new
"""


def obstacle() -> str:
    """Why no ssh server can be started here; empty when it can."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if missing:
        return f"no {', '.join(missing)}: apt-get install openssh-server openssh-client"
    return "" if os.geteuid() == 0 else "this sshd is started as root"


@dataclass
class Sshd:
    """A running server; `command` is an ssh that reads no configuration but that of host `login` here."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def sessions(self) -> list[psutil.Process]:
        """The servers of open connections, each of which waits for the command of one."""
        return psutil.Process(self.process.pid).children(recursive=False)

    def cut(self) -> int:
        """SIGKILL to every open connection's server; how many there were."""
        killed = self.sessions()
        for session in killed:
            session.kill()
        return len(killed)

    def down(self) -> None:
        """Stop listening, and cut what is open: the host has lost its network."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)

    def up(self) -> None:
        """Listen again on the same port."""
        self.process = _start(self.folder, self.port)


@contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[Sshd]:
    """A server that gives its sessions Slurm's configuration, as a login node does, and nothing else of this process."""
    PRIVILEGES.mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = free_port()
    places = {"port": port, "folder": folder, "user": getpass.getuser(), "path": os.environ["PATH"], "slurm": environment["SLURM_CONF"]}
    (folder / "server").write_text(SERVER.format(**places))
    (folder / "client").write_text(CLIENT.format(**places))
    program = folder / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    program.chmod(0o755)
    server = Sshd(folder, port, _start(folder, port))
    try:
        yield server
    finally:
        server.cut()
        with contextlib.suppress(ProcessLookupError):
            server.down()


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The server has almost no environment, so what a job has of this process it can only have got through the launcher."""
    command = [shutil.which("sshd", path="/usr/sbin"), "-D", "-f", folder / "server", "-E", folder / "log"]
    process = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin"})
    deadline = time.monotonic() + 10
    while not any(c.laddr.port == port for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, "sshd does not listen"
        time.sleep(0.05)
    return process
