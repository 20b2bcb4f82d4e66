"""Walls around a process that runs generated code: namespaces of its own, made by bubblewrap.

Inside there is a read-only Python, an empty /tmp, no network, no other process, no environment of ours, and no way to make further
namespaces. Bubblewrap needs leave to make user namespaces, which many containers do not give; there, and where it is not
installed, the process has its own limits alone (see `function_worker`) and the container is the wall.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

OPTIONS = ("-s", "-P", "-S")
"""`-I`, but for `-E`, which would ignore our own variable."""
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache")
PROGRAM = str(Path(sys.executable).resolve())
SCRIPTS = Path(__file__).parent
TRIAL_SECONDS = 10
SALT = "PYTHONHASHSEED"
ENVIRONMENT = {SALT: "0"} | {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
"""Of the process, where there are no walls too. Sets of texts have the same order in every run, or what code returns would be luck."""


def command(script: Path) -> list[str]:
    """The command that runs a Python script, which may import the standard library alone, behind such walls as this machine allows.

    Run it with `ENVIRONMENT`.
    """
    return [*walls(script.parent), PROGRAM, *OPTIONS, str(script)]


@cache
def walls(scripts: Path) -> tuple[str, ...]:
    """What goes before the command, with the folder of the scripts in sight; nothing where a trial does not work."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return ()
    seen = [path for path in (*SYSTEM, sys.base_prefix, str(Path(PROGRAM).parent), str(scripts)) if Path(path).exists()]
    binds = [word for path in dict.fromkeys(seen) for word in ("--ro-bind", path, path)]
    apart = ("--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv")
    own = ("--setenv", SALT, "0", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp")  # noqa: S108 - nobody else sees it
    found = (bubblewrap, *apart, *own, *binds)  # in this order: what is bound may lie under /tmp
    return found if _works([*found, PROGRAM, *OPTIONS, "-c", ""]) else ()


def _works(trial: list[str]) -> bool:
    try:
        return subprocess.run(trial, capture_output=True, timeout=TRIAL_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
