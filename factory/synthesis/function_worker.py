"""The process in which a teacher's function runs: `python -I -S function_worker.py`, a JSON job in, a JSON list out.

It lowers its own limits before it reads anything, and imports only what it needs: it starts once for each function.
"""

import builtins
import json
import resource
import sys
from collections.abc import Callable
from typing import Any

MEMORY = 256 << 20


def limit(kind: int, value: int) -> None:
    """Set a limit for good: the hard limit goes down with the soft one."""
    resource.setrlimit(kind, (value, value))


def outcome(function: Callable[..., Any], arguments: list[Any]) -> str:
    """The repr of the value, or `raises NAME`: how a function fails is part of what it does."""
    try:
        return repr(function(*arguments))
    except Exception as error:  # noqa: BLE001 - any failure of the function under test is its outcome
        return f"raises {type(error).__name__}"


def main() -> None:
    """Run the job on standard input."""
    limit(resource.RLIMIT_AS, MEMORY)
    limit(resource.RLIMIT_NPROC, 0)
    limit(resource.RLIMIT_FSIZE, 0)
    job = json.load(sys.stdin)
    limit(resource.RLIMIT_CPU, job["seconds"])
    limit(resource.RLIMIT_NOFILE, 3)
    names: dict[str, Any] = {"__builtins__": {name: getattr(builtins, name) for name in job["builtins"]}}
    exec(job["source"], names)  # noqa: S102 - checked against the subset by factory.synthesis.validate before it came here
    json.dump([outcome(names[job["name"]], arguments) for arguments in job["inputs"]], sys.stdout)


if __name__ == "__main__":
    main()
