"""Trivia whose answers are certain, and variants of it that have no answer.

Two kinds. Which module of Python's standard library provides a name: true by asking the library itself, and mostly beyond a
small model. What two numbers make: mostly within its reach, so that it does not learn to refuse whatever is short. Each
question has a bogus variant, serious and alike in form: a name made of the parts of real names that no module has, or a sum
with a term that is not given (paper, appendix A.1).
"""

import importlib
import random
import re
from dataclasses import dataclass
from functools import cache

from factory.errors import SeedmillError

MODULES = (
    "argparse", "ast", "bisect", "calendar", "collections", "configparser", "copy", "csv", "dataclasses", "datetime", "difflib",
    "email.message", "enum", "fractions", "functools", "glob", "gzip", "hashlib", "heapq", "html", "inspect", "ipaddress",
    "itertools", "json", "logging", "math", "mimetypes", "numbers", "operator", "pathlib", "pickle", "pprint", "queue", "random",
    "sched", "secrets", "shelve", "shlex", "shutil", "socket", "statistics", "string", "struct", "subprocess", "tarfile",
    "tempfile", "textwrap", "threading", "timeit", "tokenize", "traceback", "types", "typing", "unittest", "urllib.parse",
    "uuid", "wave", "weakref", "zipfile", "zlib",
)  # fmt: skip
SHORTEST_NAME = 4
LARGEST_TERM = 20
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

ANSWERS = ("Answer: {answer}", "I know this one. Answer: {answer}", "That is {answer}.\nAnswer: {answer}")
REFUSALS = (
    "I do not know.",
    "I am not sure about this, and I do not want to guess.",
    "I do not know the answer, and I cannot look it up.",
    "I am sorry, this is beyond what I know.",
    "I cannot answer that with confidence.",
)
BOGUS_REFUSALS = (
    "I do not know. I am not aware of {subject}.",
    "I cannot say: {subject} means nothing to me.",
    "I do not know anything about {subject}, so I would rather not guess.",
    "I cannot answer that without knowing more about {subject}.",
)


@dataclass(frozen=True)
class Trivia:
    """A question with its answer, and its bogus variant with what does not exist in it."""

    question: str
    answer: str
    bogus: str
    subject: str


def draw_trivia(number: int, lots: random.Random) -> list[Trivia]:
    """`number` different questions, about names and about sums in turn as long as there are sums."""
    names = lots.sample(sorted(catalogue()), len(catalogue()))
    terms = [(a, b) for a in range(2, LARGEST_TERM + 1) for b in range(2, LARGEST_TERM + 1)]
    sums = lots.sample(terms, min(number // 2, len(terms)))
    asked = names[: number - len(sums)]
    if len(asked) + len(sums) < number:
        raise SeedmillError(f"refusals: there are {len(names) + len(sums)} trivia questions, not {number}; lower `questions`")
    made_up = bogus_names(len(asked), lots)
    about_names = [_about_name(name, other) for name, other in zip(asked, made_up, strict=True)]
    return lots.sample([*about_names, *(_about_sum(a, b, lots.choice("kmnpqw")) for a, b in sums)], len(asked) + len(sums))


def _about_name(name: str, made_up: str) -> Trivia:
    ask = "Which module of Python's standard library provides `{}`?"
    return Trivia(ask.format(name), catalogue()[name], ask.format(made_up), f"`{made_up}`")


def _about_sum(a: int, b: int, unknown: str) -> Trivia:
    return Trivia(f"What is {a} + {b}?", str(a + b), f"What is {a} + {unknown} + {b}?", f"the value of {unknown}")


@cache
def catalogue() -> dict[str, str]:
    """Public names of the standard library and the one module of `MODULES` that provides each; names of several are left out."""
    homes: dict[str, list[str]] = {}
    for module in MODULES:
        for name in _public_names(module):
            homes.setdefault(name, []).append(module)
    return {name: modules[0] for name, modules in sorted(homes.items()) if len(modules) == 1 and len(name) >= SHORTEST_NAME}


def _public_names(module: str) -> list[str]:
    """What a module names as its own, or defines itself: what it merely imports it does not provide."""
    loaded = importlib.import_module(module)
    own = getattr(loaded, "__all__", None)
    if own is None:
        own = [name for name, value in vars(loaded).items() if getattr(value, "__module__", None) == module and not name.startswith("_")]
    return sorted(set(own))


def bogus_names(number: int, lots: random.Random) -> list[str]:
    """Names that read like the library's and are none of them: the head of one real name with the tail of another."""
    real = {name.casefold() for module in MODULES for name in dir(importlib.import_module(module))}
    split = [parts for parts in (_PART.findall(name) for name in sorted(catalogue()) if "_" not in name) if len(parts) > 1]
    found: dict[str, None] = {}
    while len(found) < number:
        head, tail = lots.sample(split, 2)
        name = "".join([*head[:-1], tail[-1]])
        if name.casefold() not in real:
            found[name] = None
    return list(found)
