"""Walls around a process that runs generated code: namespaces of its own, made by bubblewrap.

Inside there is a read-only Python, an empty /tmp, no network, no other process, no environment, and no way to make further
namespaces. Bubblewrap needs leave to make user namespaces, which many containers do not give; there, and where it is not
installed, the process has its own limits alone (see `function_worker`) and the container is the wall.
"""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache")
PROGRAM = str(Path(sys.executable).resolve())
SCRIPTS = Path(__file__).parent
TRIAL_SECONDS = 10


def command(script: Path) -> list[str]:
    """The command that runs a Python script, which may import the standard library alone, behind such walls as this machine allows."""
    return [*walls(script.parent), PROGRAM, "-I", "-S", str(script)]


@cache
def walls(scripts: Path) -> tuple[str, ...]:
    """What goes before the command, with the folder of the scripts in sight; nothing where a trial does not work."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return ()
    seen = [path for path in (*SYSTEM, sys.base_prefix, str(Path(PROGRAM).parent), str(scripts)) if Path(path).exists()]
    binds = [word for path in dict.fromkeys(seen) for word in ("--ro-bind", path, path)]
    apart = ("--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv")
    own = ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp")  # noqa: S108 - nobody else sees it
    found = (bubblewrap, *apart, *own, *binds)  # in this order: what is bound may lie under /tmp
    return found if _works([*found, PROGRAM, "-I", "-S", "-c", ""]) else ()


def _works(trial: list[str]) -> bool:
    try:
        return subprocess.run(trial, capture_output=True, timeout=TRIAL_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
