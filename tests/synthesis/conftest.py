"""Stages of synthesis run on real passages: docstrings and functions of this Python's standard library."""

import calendar
import inspect
import operator
import statistics
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from stage_runner import Runner

from factory.records import DOCUMENT, Record, new_record
from factory.schemas import CONVERSATION, PROBLEM
from factory.synthesis.chat import chat_text


@pytest.fixture
def stage(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture(scope="session")
def passages() -> list[Record]:
    """Real prose (docstrings) and real code (whole modules) of the standard library."""
    prose = [
        _passage(f"{module.__name__}.{name}", inspect.getdoc(value) or "", "document")
        for module in (calendar, operator, statistics, textwrap)
        for name, value in sorted(vars(module).items())
        if callable(value) and len(inspect.getdoc(value) or "") > 120
    ]
    code = [_passage(f"{module.__name__}.py", inspect.getsource(module), "code") for module in (calendar, operator, textwrap)]
    return prose + code


def _passage(locator: str, text: str, kind: str) -> Record:
    return new_record(source="stdlib", locator=locator, text=text, kind=kind, created_by="test@1", license="PSF-2.0", language="en")


HELD_OUT_TRIVIA = "Who was the last king of Atlantis?"


def _trivia(text: str) -> Record:
    return new_record(
        source="trivia", locator="held-out", text=text, kind="question", created_by="t@1", family="unanswerable", answer="", steps=[],
        solution="",
    )  # fmt: skip


@pytest.fixture
def refusals(stage: Runner) -> Callable[[list[str]], None]:
    """Puts conversations that decline the given questions in place of the refusals."""

    def provide(questions: list[str]) -> None:
        rows = []
        for question in questions:
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "I do not know."}]
            text = chat_text(messages)
            row = new_record(
                source="refusals", locator=question, text=text, kind="refusal", created_by="t@1", domain="conversation", messages=messages
            )
            rows.append(row)
        stage.provide("refusals", "conversations", rows, CONVERSATION, questions=([_trivia(HELD_OUT_TRIVIA)], PROBLEM))

    return provide


@pytest.fixture
def seeded(stage: Runner, passages: list[Record]) -> Runner:
    """A runner that holds seed passages."""
    stage.provide("seed_passages", "passages", passages, DOCUMENT)
    return stage
