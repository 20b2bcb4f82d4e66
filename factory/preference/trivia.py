"""Trivia whose answers are certain, and variants of it that have no answer.

Two kinds. Which module of Python's standard library provides a name: knowledge, true by asking the library itself, and mostly
beyond a small model. Which item of a short list is asked for: within its reach, so that it does not learn to refuse whatever
is short. Each question has a bogus variant, serious and alike in form: a name made of the parts of real names that no module
has, or an item that the list does not have (paper, appendix A.1).
"""

import importlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from factory.errors import SeedmillError
from factory.synthesis.problems.listing import draw_listing

MODULES = (
    "argparse", "ast", "bisect", "calendar", "collections", "configparser", "copy", "csv", "dataclasses", "datetime", "difflib",
    "email.message", "enum", "fractions", "functools", "glob", "gzip", "hashlib", "heapq", "html", "inspect", "ipaddress",
    "itertools", "json", "logging", "math", "mimetypes", "numbers", "operator", "pathlib", "pickle", "pprint", "queue", "random",
    "sched", "secrets", "shelve", "shlex", "shutil", "socket", "statistics", "string", "struct", "subprocess", "tarfile",
    "tempfile", "textwrap", "threading", "timeit", "tokenize", "traceback", "types", "typing", "unittest", "urllib.parse",
    "uuid", "wave", "weakref", "zipfile", "zlib",
)  # fmt: skip
SHORTEST_NAME = 4
ABSENT = "eighth"
SHOWN = ("namedtuple", "heappush", "TemporaryDirectory")
"""Names that stand as examples before each question, and are never asked."""
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
    "I cannot say, since I do not know of {subject}.",
    "I do not know anything about {subject}, so I would rather not guess.",
    "I am not sure that there is such a thing as {subject}.",
)


@dataclass(frozen=True)
class Told:
    """What a teacher wrote: a reply with the answer, a refusal of the question, and one of its bogus variant."""

    answer: str
    refusal: str
    bogus_refusal: str


@dataclass(frozen=True)
class Trivia:
    """A question with its answer, and its bogus variant (perhaps empty) with what does not exist in it.

    Replies are `told` by a teacher, or drawn from wordings here. `knowledge` says whether a wrong answer shows a gap of
    knowledge, for which refusing is the remedy. To misread a list shows none: a model that learnt to refuse there would only
    solve less.
    """

    question: str
    answer: str
    bogus: str
    subject: str
    knowledge: bool
    told: Told | None = None

    def reply(self, lots: random.Random) -> str:
        """A reply with the right answer."""
        return self.told.answer if self.told else worded(self.answer, lots)

    def refusal(self, lots: random.Random) -> str:
        """A reply that says that the answer is not known."""
        return self.told.refusal if self.told else lots.choice(REFUSALS)

    def bogus_refusal(self, lots: random.Random) -> str:
        """A reply to the bogus variant."""
        return self.told.bogus_refusal if self.told else lots.choice(BOGUS_REFUSALS).format(subject=self.subject)


def worded(answer: str, lots: random.Random) -> str:
    """A reply that states an answer, right or wrong."""
    return lots.choice(ANSWERS).format(answer=answer)


def draw_trivia(number: int, lots: random.Random) -> list[Trivia]:
    """`number` different questions in random order, half of them about names."""
    lists = list(_about_lists(number // 2, lots))
    askable = sorted(set(catalogue()) - set(SHOWN))
    names = lots.sample(askable, len(askable))[: number - len(lists)]
    if len(names) + len(lists) < number:
        raise SeedmillError(f"refusals: the standard library has {len(names)} names for {number - len(lists)} questions; lower `questions`")
    made_up = bogus_names(len(names), lots)
    about_names = [about_name(name, other) for name, other in zip(names, made_up, strict=True)]
    return lots.sample([*about_names, *lists], number)


def about_name(name: str, made_up: str) -> Trivia:
    """Where a name of the standard library is, and where one that does not exist is."""
    ask = "Which module of Python's standard library provides `{}`?"
    return Trivia(ask.format(name), catalogue()[name], ask.format(made_up), f"`{made_up}`", knowledge=True)


def _about_lists(number: int, lots: random.Random) -> Iterator[Trivia]:
    """Different list problems of one step; lists have at most five items, so their eighth does not exist."""
    seen: set[str] = set()
    while len(seen) < number:
        problem = draw_listing(lots, steps=1)
        bogus = problem.question.replace(f" {problem.steps[-1].name} ", f" {ABSENT} ")
        if bogus not in seen:
            seen.add(bogus)
            yield Trivia(problem.question, problem.answer, bogus, f"an {ABSENT} item of that list", knowledge=False)


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
