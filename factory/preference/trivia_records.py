"""Trivia as records, and the way in which a base model is asked: what is asked here in training, evaluation asks again."""

import re
from collections.abc import Iterator, Sequence

from factory.preference.trivia import Trivia
from factory.records import Record, new_record
from factory.synthesis.formats import exercise, native_prompt

HELD_OUT, TRAINING, EXAMPLE = "held-out", "training", "example"
"""Locators: which set a question belongs to."""
KNOWLEDGE, LIST = "knowledge_question", "list_question"
"""Kinds: what is known or not, and what can be read off the question."""
LICENSE = "Apache-2.0"


def base_prompt(question: str, kind: str, examples: Sequence[tuple[str, str]]) -> str:
    """What a model is asked that knows no chat: the question as an exercise of its pretraining.

    Pretraining has list problems in that form; after a form that it lacks, answered `examples` are needed.
    """
    shown = [exercise(text, f"Answer: {answer}") for text, answer in (examples if kind == KNOWLEDGE else ())]
    return "\n\n".join([*shown, native_prompt(question)])


def question_records(trivia: Trivia, place: str, created_by: str) -> Iterator[Record]:
    """A question and its bogus variant, where it has one."""
    yield question_record(trivia.question, trivia.answer, place, kind_of(trivia), created_by)
    if trivia.bogus:
        yield question_record(trivia.bogus, "", place, kind_of(trivia), created_by)


def kind_of(trivia: Trivia) -> str:
    """The kind of a question's record."""
    return KNOWLEDGE if trivia.knowledge else LIST


def question_record(text: str, answer: str, place: str, kind: str, created_by: str) -> Record:
    """A PROBLEM record; one without an answer is unanswerable."""
    return new_record(
        source="trivia",
        locator=place,
        text=text,
        kind=kind,
        created_by=created_by,
        license=LICENSE,
        language="en",
        family="answerable" if answer else "unanswerable",
        answer=answer,
        steps=[],
        solution="",
    )


def names_answer(text: str, answer: str) -> bool:
    """Whether a text holds an answer as whole words, whatever its case; no text holds none."""
    return bool(answer) and re.search(rf"(?<!\w){re.escape(answer.casefold())}(?!\w)", text.casefold()) is not None
