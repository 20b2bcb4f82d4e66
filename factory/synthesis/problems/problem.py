"""A problem whose answer is known, and the ways to write its solution.

Problems are the one thing here that can be checked without a judge: their oracle is arithmetic or a real run of Python.
Three styles of solution (a bare answer, one line of equations, numbered steps) let preference training find out which
way of answering a model can carry through.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from factory.records import Record, new_record

Style = Literal["direct", "brief", "steps"]
STYLES: tuple[Style, ...] = ("direct", "brief", "steps")
LARGEST_VALUE = 40
SOURCE = "problems"
LICENSE = "Apache-2.0"
_ANSWER = re.compile(r"Answer: (-?\d+)(?!\d)")
_BRIEF_STEP = re.compile(r"(?:^|= )((?:-?\d+ ?)+)$")


@dataclass(frozen=True)
class Step:
    """One step: what is done (`name`), the arithmetic if there is any (`expression`), and the `value` that comes of it."""

    name: str
    expression: str
    value: str

    def equation(self) -> str:
        """The step without its name, as brief solutions and comments show it."""
        return f"{self.expression} = {self.value}" if self.expression else self.value


@dataclass(frozen=True)
class Problem:
    """A question, the state it starts from, the steps of its solution and its answer; all numbers are 0 to 40."""

    family: str
    question: str
    start: str
    steps: tuple[Step, ...]
    answer: str


def write_solution(problem: Problem, style: Style) -> str:
    """The solution in one style; every style ends with `Answer: X`."""
    answer = f"Answer: {problem.answer}"
    if style == "direct":
        return answer
    if style == "brief":
        return f"So {'; '.join(step.equation() for step in problem.steps)}. {answer}"
    lines = [f"{number}. {step.name}: {step.equation()}" for number, step in enumerate(problem.steps, 1)]
    return "\n".join([f"Start: {problem.start}", *lines, answer])


def read_solution(text: str) -> tuple[Style, tuple[str, ...], str | None]:
    """Style, values of the steps and last `Answer:` of a written solution; the inverse of `write_solution`."""
    found = _ANSWER.findall(text)
    answer = found[-1] if found else None
    body = text[: text.rfind("Answer:")].strip() if found else text.strip()
    if not body:
        return "direct", (), answer
    if body.startswith("Start:"):
        return "steps", tuple(_value(line) for line in body.split("\n")[1:]), answer
    return "brief", tuple(_value(part) for part in body.removeprefix("So ").rstrip(".").split("; ")), answer


def _value(step: str) -> str:
    tail = step.rsplit(": ", 1)[-1]
    match = _BRIEF_STEP.search(tail)
    return match[1] if match else ""


def problem_record(problem: Problem, *, locator: str, kind: str, created_by: str) -> Record:
    """The problem as a PROBLEM record; `solution` holds what `problem_of` needs to get it back."""
    solution = {"start": problem.start, "steps": [asdict(step) for step in problem.steps]}
    return new_record(
        source=SOURCE,
        locator=locator,
        text=problem.question,
        kind=kind,
        created_by=created_by,
        license=LICENSE,
        language="en",
        family=problem.family,
        answer=problem.answer,
        steps=[step.value for step in problem.steps],
        solution=json.dumps(solution),
    )


def problem_of(record: Mapping[str, Any]) -> Problem:
    """The problem that a PROBLEM record holds. An organic question has no worked solution: its steps are empty."""
    solution = json.loads(record["solution"]) if record["solution"] else {"start": "", "steps": []}
    steps = tuple(Step(**step) for step in solution["steps"])
    return Problem(record["family"], record["text"], solution["start"], steps, record["answer"])
