"""The judge's interface, and the rubric as a program (paper, appendix A.2).

A judge sees a question and any number of answers, states the faults of each and discusses them, and only then scores: what
is written first is what the scores are reasoned from. A language model stands behind the interface in
`factory.preference.teacher_judge`. The judge here is a program that knows the problem's answer and steps, and it is called so in
all that it writes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.preference.oracles import answer_is_correct
from factory.preference.stated import ends_with_answer, final_answer, statements
from factory.records import Record

Score = Annotated[int, Field(ge=1, le=5)]
Criterion = str
_EQUATION = re.compile(r"(?<![\d.])(\d+) ([+\-*]) (\d+) = (-?\d+)(?![\d.])")
_OPERATIONS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


class Judgement(BaseModel):
    """What a judge says of N answers; the fields stand in the order in which they are to be written: reasons first."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    faults: tuple[tuple[str, ...], ...]
    faults_discussion: str
    accuracy: tuple[Score, ...]
    style: tuple[Score, ...]
    detail: tuple[Score, ...]

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if len({len(self.faults), len(self.accuracy), len(self.style), len(self.detail)}) != 1:
            raise ValueError("a judgement needs faults, accuracy, style and detail for each answer: ask the judge again")
        return self

    def overall(self, answer: int) -> float:
        """The mean of an answer's three scores."""
        return (self.accuracy[answer] + self.style[answer] + self.detail[answer]) / 3

    def score(self, answer: int, criterion: Criterion) -> float:
        """An answer's score by `accuracy` or `overall`."""
        return float(self.accuracy[answer]) if criterion == "accuracy" else self.overall(answer)


@dataclass(frozen=True)
class Case:
    """A question and the answers to it, in the order in which the judge sees them."""

    question: Record
    answers: tuple[str, ...]


class Judge(Protocol):
    """Compares answers to the same question."""

    name: str

    def judge_all(self, cases: Sequence[Case]) -> list[Judgement | None]:
        """For each case the faults and scores of its answers, in the order given; None where the judge said nothing usable."""
        ...


class RubricProgram:
    """The rubric as a program: it compares with the known answer, follows the known steps and checks every equation."""

    name = "rubric-program"

    def judge_all(self, cases: Sequence[Case]) -> list[Judgement | None]:
        """A judgement of every case; what one answer gets does not depend on the others or on its place."""
        return [_judgement(case.question, case.answers) for case in cases]


def _judgement(question: Record, answers: Sequence[str]) -> Judgement:
    right = [str(number) for number, answer in enumerate(answers, 1) if answer_is_correct(answer, question["answer"])]
    return Judgement(
        faults=tuple(_faults(question, answer) or ("none",) for answer in answers),
        faults_discussion=f"Right: {', '.join(right) or 'no answer'} of {len(answers)}.",
        accuracy=tuple(_accuracy(question, answer) for answer in answers),
        style=tuple(_style(answer) for answer in answers),
        detail=tuple(_detail(question, answer) for answer in answers),
    )


def _faults(question: Record, answer: str) -> tuple[str, ...]:
    """Each fault with its kind. Brevity is none: the questions ask for no level of detail."""
    given = final_answer(answer)
    found = [f"logical error: {equation} does not hold" for equation in _false_equations(answer)]
    if given is None:
        found.append("lack of comprehension: no answer is stated")
    elif not answer_is_correct(answer, question["answer"]):
        found.append(f"factual error: the stated answer {given!r} is wrong")
    return (*found, *(f"stylistic issue: {issue}" for issue in _stylistic_issues(answer)))


def _accuracy(question: Record, answer: str) -> int:
    """5 for a right answer, one less for each false equation but at least 3; 2 for a wrong one that got half way, else 1."""
    if answer_is_correct(answer, question["answer"]):
        return max(3, 5 - len(_false_equations(answer)))
    return 2 if _steps_shown(question, answer) >= 0.5 else 1


def _style(answer: str) -> int:
    return max(1, 5 - 2 * len(_stylistic_issues(answer)))


def _detail(question: Record, answer: str) -> int:
    """From 1 for a bare answer to 5 for all steps in order; 3 where the steps are not known."""
    return 1 + round(4 * _steps_shown(question, answer)) if question["steps"] else 3


def _stylistic_issues(answer: str) -> list[str]:
    lines = [line.strip() for line in answer.strip().split("\n")]
    checks = (
        (len(statements(answer)) != 1, "the answer is not stated exactly once"),
        (not ends_with_answer(answer), "it does not end with the answer"),
        (len(set(lines)) < len(lines), "a line is repeated"),
    )
    return [issue for holds, issue in checks if holds]


def _steps_shown(question: Record, answer: str) -> float:
    """The share of the known step values that stand in the answer's working, in order."""
    working, place, shown = answer[: next(iter(statements(answer)), None)], 0, 0
    for value in question["steps"]:
        found = re.compile(rf"(?<![\d.]){re.escape(value)}(?!\d)").search(working, place)
        if found:
            place, shown = found.end(), shown + 1
    return shown / max(1, len(question["steps"]))


def _false_equations(answer: str) -> list[str]:
    return [match[0] for match in _EQUATION.finditer(answer) if _OPERATIONS[match[2]](int(match[1]), int(match[3])) != int(match[4])]
