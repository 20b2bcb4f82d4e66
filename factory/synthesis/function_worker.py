"""The process in which a teacher's function runs: `python -s -P -S function_worker.py`, a JSON job in, a JSON list out.

It lowers its own limits before it reads anything, and imports only what it needs: it starts once for each function.
"""

import ast
import builtins
import importlib
import json
import resource
import sys
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

MEMORY = 256 << 20
LONGEST = 1_000_000


def limit(kind: int, value: int) -> None:
    """Set a limit for good: the hard limit goes down with the soft one."""
    resource.setrlimit(kind, (value, value))


def offered(names: Collection[str], modules: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """The builtins that the code sees. A module is the listed names alone; of `typing`, which nothing evaluates, only the names."""
    if "collections" in modules:
        importlib.import_module("heapq")  # a counter imports it at its first ranking, when no file can be opened any more
    found = {name: getattr(builtins, name) for name in names if name != "print"}
    shown = {
        module: SimpleNamespace(**{name: None if module == "typing" else getattr(importlib.import_module(module), name) for name in listed})
        for module, listed in modules.items()
    }
    if "print" in names:
        found["print"] = lambda *_, **__: None  # standard output is for the results
    return found | ({"__import__": lambda module, *_: shown[module]} if shown else {})


def simple(value: Any) -> Any:
    """A counter as a dictionary and a deque as a list: what a test can write down."""
    if isinstance(value, dict) and type(value) is not dict:
        return dict(value)
    return list(value) if type(value).__name__ == "deque" else value


def arguments_of(given: list[Any] | str) -> list[Any]:
    """The arguments of a call; as text they are the literal of a tuple."""
    return list(ast.literal_eval(given)) if isinstance(given, str) else given


def outcome(function: Callable[..., Any], arguments: list[Any]) -> str:
    """The repr of the value, or `raises NAME`: how a function fails is part of what it does."""
    try:
        found = repr(simple(function(*arguments)))
        return found if len(found) <= LONGEST else "raises ValueTooLong"
    except Exception as error:  # noqa: BLE001 - any failure of the function under test is its outcome
        return f"raises {type(error).__name__}"


def main() -> None:
    """Run the job on standard input."""
    limit(resource.RLIMIT_AS, MEMORY)
    limit(resource.RLIMIT_NPROC, 0)
    limit(resource.RLIMIT_FSIZE, 0)
    job = json.load(sys.stdin)
    inputs = [arguments_of(given) for given in job["inputs"]]
    names: dict[str, Any] = {"__builtins__": offered(job["builtins"], job["modules"])}
    limit(resource.RLIMIT_CPU, job["seconds"])
    limit(resource.RLIMIT_NOFILE, 3)
    exec(job["source"], names)  # noqa: S102 - checked, by factory.synthesis.validate or factory.preference.submitted_code
    json.dump([outcome(names[job["name"]], arguments) for arguments in inputs], sys.stdout)


if __name__ == "__main__":
    main()
