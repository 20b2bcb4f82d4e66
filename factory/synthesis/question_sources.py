"""The stage `questions/NAME`: questions of one's own, such as GSM8K's, MMLU's or MBPP's, from JSONL or Parquet.

They join the question bank, but for a share that is held out for the benchmarks. That share is drawn by a hash of each text: when
the files grow, no question ever passes from one side to the other.
"""

import hashlib
import json
import math
import re
import string
from collections.abc import Mapping
from typing import Any

from factory.context import Context
from factory.curation.imports import Import
from factory.curation.language import Languages
from factory.curation.rows import Rejected, Row, text_of
from factory.preference.stated import final_answer
from factory.records import Record, folded, new_record
from factory.schemas import PROBLEM
from factory.synthesis.asserts import example, read_tests
from factory.synthesis.own_data import QuestionSource

CREATED_BY = "questions@1"
QUESTION, BENCHMARK = "question", "benchmark"
"""Kinds: what is trained on, and what is held out."""


def run(context: Context) -> None:
    """Write `questions` (PROBLEM), each once; `answer` is empty where the source has none."""
    source = context.section(QuestionSource)
    name, languages = context.spec.asset.rpartition("/")[2], Languages()
    named = (source.text_field, source.answer_field, source.choices_field, source.tests_field, source.function_field)
    fields = tuple(field for field in dict.fromkeys(named) if field and not (field == source.answer_field and source.tests_field))
    Import(source, fields, lambda row: _record(row, source, name, languages)).write(context, "questions", PROBLEM)


def _record(row: Row, source: QuestionSource, name: str, languages: Languages) -> Record | Rejected:
    asked = text_of(row.values.get(source.text_field), row.locator)
    if isinstance(asked, Rejected):
        return asked
    found = _completed(asked.strip(), row, source)
    if isinstance(found, Rejected):
        return found
    text, answer = found
    if isinstance(unwritable := text_of(text + answer, row.locator), Rejected):
        return unwritable
    return new_record(
        source=name,
        locator=row.locator,
        text=text,
        kind=BENCHMARK if held_out(text, source.held_out) else QUESTION,
        created_by=CREATED_BY,
        license=source.license,
        language=languages.sure(text),
        family=source.domain,
        answer=answer,
        steps=[],
        solution="",
    )


def held_out(text: str, share: float) -> bool:
    """Whether a question is among the share that is held out; the same whatever else its source holds."""
    lot = hashlib.blake2b(folded(text).encode(), digest_size=8).digest()
    return int.from_bytes(lot) < share * 2**64


def _completed(question: str, row: Row, source: QuestionSource) -> tuple[str, str] | Rejected:
    """The question with what belongs to it, and the known answer."""
    if source.tests_field:
        return _tested(question, row, source)
    given = row.values.get(source.answer_field) if source.answer_field else None
    if source.choices_field:
        return with_choices(question, row.values.get(source.choices_field), given, row.locator)
    if not source.answer_field:
        return question, ""
    stated = text_of(str(given) if _is_number(given) else given, row.locator)
    return stated if isinstance(stated, Rejected) else (question, known_answer(stated))


def _is_number(value: object) -> bool:
    """A truth value is none, for no rule knows `yes` for it; nor is NaN, which is how a table says that there is no value."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def known_answer(text: str) -> str:
    """What a known answer states: all of it, or what is marked in a solution (`####`, a box, `Answer:`)."""
    return final_answer(text) or text.strip()


def _tested(question: str, row: Row, source: QuestionSource) -> tuple[str, str] | Rejected:
    function = row.values.get(source.function_field) if source.function_field else ""
    tests = read_tests(row.values.get(source.tests_field), function if isinstance(function, str) else "")
    if tests is None:
        return Rejected(row.locator, "tests_not_understood")
    # A question that tells to "double a number" does not say that the function is called `double`.
    if not re.search(rf"(?<!\w){tests.function}\s*\(|[`'\"]{tests.function}\b", question):
        question = f"{question}\nWrite a Python function `{tests.function}`. For example, {example(tests)}."
    return question, tests.model_dump_json()


def with_choices(question: str, choices: object, answer: object, locator: str) -> tuple[str, str] | Rejected:
    """The question with its choices in lines `A) TEXT`, and the right one of these lines.

    `answer` is an index from 0, a label, or the text of a choice; choices are texts, or `{"text": [...], "label": [...]}` (ARC).
    """
    found = _choices(choices)
    if found is None:
        return Rejected(locator, "no_choices")
    texts, labels = found
    index = _index(answer, texts, labels)
    if index is None:
        return Rejected(locator, "answer_is_no_choice")
    lines = [f"{letter}) {text}" for letter, text in zip(string.ascii_uppercase, texts, strict=False)]
    return "\n".join([question, *lines]), lines[index]


def _choices(value: object) -> tuple[list[str], list[str]] | None:
    """Texts and labels of 2 to 26 different choices."""
    if isinstance(value, str):
        value = _json(value)
    labels = value.get("label") if isinstance(value, Mapping) else None
    listed = value.get("text") if isinstance(value, Mapping) else value
    if not isinstance(listed, list) or not all(isinstance(text, str | int | float) for text in listed):
        return None
    texts = [" ".join(str(text).split()) for text in listed]
    if not 2 <= len(set(texts)) == len(texts) <= len(string.ascii_uppercase) or not all(texts):
        return None
    named = labels if isinstance(labels, list) and len(labels) == len(texts) else list(string.ascii_uppercase[: len(texts)])
    return texts, [str(label) for label in named]


def _index(answer: object, texts: list[str], labels: list[str]) -> int | None:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(texts) else None
    said = " ".join(answer.split()) if isinstance(answer, str) else None
    meant = [side.index(said) for side in (labels, texts) if said in side]
    # Of the blood groups O, A, B and AB, an `A` is the first by our letters and the second by its text: nobody knows which is meant.
    ours = labels == list(string.ascii_uppercase[: len(texts)])
    return meant[0] if meant and not (ours and len(set(meant)) > 1) else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
