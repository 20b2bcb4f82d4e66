"""The allow-list: pure functions of the standard library that instruction reversal may call, and how to draw inputs for them.

A function is here because its code shows that it has no effect, no state and no input but its arguments. The list is data
of the factory, never of a recipe or a document: to add one is to have read it.
"""

import ast
import importlib
import inspect
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from factory.records import Record

_PATHS = ("", "/", "a/b/c", "/usr/lib", "a//b/")
_WORDS = (*_PATHS, "a", "Ab", "the cat", "  two  spaces ", "UPPER case", "it's", 'say "hi"', "x < y & z", "ünïcode")
Draw = Callable[[random.Random], tuple[Any, ...]]


def _year(random: random.Random) -> int:
    return random.choice([random.randint(1, 3000), 100 * random.randint(1, 30), 4 * random.randint(1, 700)])


def _text(random: random.Random) -> str:
    return random.choice(_WORDS) + random.choice(("", " ", "/")) + random.choice(_WORDS)


def _numbers(random: random.Random) -> list[int]:
    return [random.randint(0, 9) for _ in range(random.randint(0, 7))]


def _sorted_and_one(random: random.Random) -> tuple[list[int], int]:
    return sorted(_numbers(random)), random.randint(0, 9)


def _texts(random: random.Random) -> list[str]:
    start = random.choice(_WORDS)
    return [start + random.choice(_WORDS) for _ in range(random.randint(0, 3))]


PURE_FUNCTIONS: dict[str, Draw] = {
    "bisect.bisect_left": _sorted_and_one,
    "bisect.bisect_right": _sorted_and_one,
    "calendar.isleap": lambda r: (_year(r),),
    "calendar.leapdays": lambda r: tuple(sorted((_year(r), _year(r)))),
    "genericpath.commonprefix": lambda r: (_texts(r),),
    "html.escape": lambda r: (_text(r), r.random() < 0.5),
    "inspect.cleandoc": lambda r: (_text(r) + "\n    " + _text(r) + "\n      " + _text(r),),
    "operator.countOf": lambda r: (_numbers(r), r.randint(0, 9)),
    "operator.indexOf": lambda r: (_numbers(r), r.randint(0, 9)),
    "posixpath.basename": lambda r: (_text(r),),
    "posixpath.dirname": lambda r: (_text(r),),
    "posixpath.isabs": lambda r: (_text(r),),
    "shlex.quote": lambda r: (_text(r),),
    "statistics.median_high": lambda r: ([*_numbers(r), r.randint(0, 9)],),
    "statistics.median_low": lambda r: ([*_numbers(r), r.randint(0, 9)],),
    "string.capwords": lambda r: (_text(r),),
    "textwrap.indent": lambda r: (_text(r) + "\n\n" + _text(r), r.choice(["> ", "  ", ""])),
}


@dataclass(frozen=True)
class SeedFunction:
    """An allow-listed function as found in a seed passage: its dotted name, its source, and the passage's record."""

    name: str
    source: str
    passage: Record

    @property
    def short_name(self) -> str:
        """The name that `def` gives it."""
        return self.name.rpartition(".")[2]


def find_functions(passage: Record) -> Iterator[SeedFunction]:
    """The allow-listed functions that a passage of a module holds whole, in the words of this Python.

    The passage's text must equal the installed source: what would be called is then what the passage says.
    """
    module = PurePosixPath(passage["locator"].partition("#")[0])
    name = module.parent.name if module.stem == "__init__" else module.stem
    for dotted in PURE_FUNCTIONS:
        if dotted.startswith(f"{name}.") and (source := installed_source(dotted)) in passage["text"]:
            yield SeedFunction(dotted, source, passage)


def installed_source(dotted: str) -> str:
    """The source of an allow-listed function as this Python has it, without white space around it."""
    module, _, name = dotted.rpartition(".")
    tree = inspect.getsource(importlib.import_module(module))
    nodes = [node for node in ast.parse(tree).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return (ast.get_source_segment(tree, nodes[0]) or "").strip()


def draw_inputs(dotted: str, random: random.Random, number: int) -> list[tuple[Any, ...]]:
    """Arguments for `number` calls, as JSON values."""
    return [PURE_FUNCTIONS[dotted](random) for _ in range(number)]


def reference_outcomes(dotted: str, inputs: list[tuple[Any, ...]]) -> tuple[str, ...]:
    """What the real function gives for each input: the repr of the value, or `raises NAME`."""
    module, _, name = dotted.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    return tuple(_outcome(function, arguments) for arguments in inputs)


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    try:
        return repr(function(*arguments))
    except Exception as error:  # noqa: BLE001 - how the function fails is part of what it does
        return f"raises {type(error).__name__}"
