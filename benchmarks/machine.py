"""What every benchmark says about where and when it ran."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def surroundings(*packages: str) -> dict[str, Any]:
    """Machine, versions of `packages`, commit and load, as JSON values."""
    return {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "platform": platform.platform()},
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True, cwd=Path(__file__).parent).strip(),
        "load": os.getloadavg(),
    }


def cpu_name() -> str:
    """The processor as the kernel calls it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
