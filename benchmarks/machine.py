"""What every benchmark says about where and when it ran."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def surroundings(*packages: str) -> dict[str, Any]:
    """Machine, versions of `packages`, commit (and whether the code was that commit's) and load, as JSON values."""
    return {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "platform": platform.platform()},
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "commit": _git("rev-parse", "HEAD"),
        "changed_since": _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)results").splitlines(),
        "load": os.getloadavg(),
    }


def _git(*words: str) -> str:
    return subprocess.check_output(["git", *words], text=True, cwd=Path(__file__).parent).strip()


def cpu_name() -> str:
    """The processor as the kernel calls it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
