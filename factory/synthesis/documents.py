"""Synthetic documents: problems as exercises and as questions, annotated programs, reversed instructions, worksheets.

Every text has a known truth behind it: an oracle for the problems, execution for the code (sections 2.1 and 2.3 of the paper).
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random

import pyarrow as pa

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record, derive, new_record, schema_with
from factory.synthesis.config import SyntheticConfig
from factory.synthesis.formats import exercise, question_and_answer, worksheet
from factory.synthesis.functions import find_functions
from factory.synthesis.problems import STYLES, annotate, problem_of, write_solution
from factory.synthesis.problems.problem import LICENSE
from factory.synthesis.reversal import function_original, program_original, reversals
from factory.synthesis.teacher import open_teacher

TRANSFORM = "documents@1"
SCHEMA = schema_with(pa.field("cluster", pa.string(), nullable=False))


def run(context: Context) -> None:
    """Write `documents`: DOCUMENT with `cluster`, which is `synthetic` or `code`."""
    section = context.section(SyntheticConfig)
    questions = [row for row in context.inputs["question_bank"].records("questions") if row["solution"]]
    if not questions:
        raise SeedmillError("question_bank holds no question with a worked solution; set question_bank.problems above 0")
    context.write_records("documents", _documents(context, section, questions), SCHEMA)


def _documents(context: Context, section: SyntheticConfig, questions: list[Record]) -> Iterator[Record]:
    programs = [row for row in questions if row["family"] == "code"]
    for documents in (
        _problems(context, section, questions),
        _programs(context, section, programs),
        _reversals(context, section, programs),
    ):
        yield from documents


def endless(rows: Sequence[Record], random: Random) -> Iterator[Record]:
    """The rows in random order, again and again: none comes twice before all have come once."""
    while rows:
        yield from random.sample(rows, len(rows))


def _problems(context: Context, section: SyntheticConfig, questions: list[Record]) -> Iterator[Record]:
    """Exercises, questions and answers, worksheets: one deck for the three, so they share questions as late as possible."""
    random = context.random("problems")
    deck = endless(questions, random)
    for kind, write, number in (
        ("exercise", exercise, section.exercises),
        ("question", question_and_answer, section.questions_and_answers),
    ):
        for row in islice(deck, number):
            solution = write_solution(problem_of(row), random.choices(STYLES, section.style_weights)[0])
            yield _made(context, row, write(row["text"], solution), kind, "synthetic")
    for number in range(1, section.worksheets + 1):
        yield _worksheet(context, number, list(islice(deck, section.worksheet_problems)))


def _programs(context: Context, section: SyntheticConfig, programs: list[Record]) -> Iterator[Record]:
    for row in islice(programs, section.annotated_programs):
        yield _made(context, row, annotate(problem_of(row)), "program", "code")


def _made(context: Context, row: Record, text: str, kind: str, cluster: str) -> Record:
    context.keep()
    context.made(kind)
    return derive(row, text=text, kind=kind, created_by=TRANSFORM, cluster=cluster)


def _worksheet(context: Context, number: int, rows: list[Record]) -> Record:
    context.keep(len(rows))
    context.made("worksheet")
    return new_record(
        source="worksheets",
        locator=f"worksheet/{number:05d}",
        text=worksheet(number, [problem_of(row) for row in rows]),
        kind="worksheet",
        created_by=TRANSFORM,
        license=LICENSE,
        language="en",
        parents=[row["id"] for row in rows],
        cluster="synthetic",
    )


def _reversals(context: Context, section: SyntheticConfig, programs: list[Record]) -> Iterator[Record]:
    """Programs of ours from the end of the bank (annotated ones come from its head), and functions found in seed passages."""
    passages = (row for row in context.inputs["seed_passages"].records("passages") if row["kind"] == "code")
    functions = {function.name: function for passage in passages for function in find_functions(passage)}
    originals = [program_original(row) for row in programs[::-1][: section.program_reversals]]
    originals += [function_original(context, functions[name], section.function_trials) for name in sorted(functions)]
    context.metrics["functions_found"] = len(functions)
    yield from reversals(context, open_teacher(context, section.teacher), originals, section.max_answer_tokens)
