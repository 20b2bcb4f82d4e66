"""The stage `trivia_questions`: trivia of one's own, such as TriviaQA's, from a folder or an S3 prefix of JSONL or Parquet.

It is no document source: what a model is asked from memory must not be among the texts that it reads.
"""

import random

from factory.context import Context
from factory.curation.imports import Import
from factory.curation.rows import Rejected, Row, text_of
from factory.errors import SeedmillError
from factory.preference.config import TriviaSource
from factory.preference.trivia import Trivia
from factory.preference.trivia_records import KNOWLEDGE, question_record
from factory.records import Record, folded
from factory.schemas import PROBLEM

CREATED_BY = "trivia_questions@1"
EXAMPLES = 3
"""Questions that are shown with their answers before each question that a base model is asked, and are never asked."""


def run(context: Context) -> None:
    """Write `questions` (PROBLEM), each once; a row without question or answer is dropped by reason."""
    source = context.section(TriviaSource)
    fields = (source.text_field, source.answer_field)
    Import(source, fields, lambda row: _record(source, row)).write(context, "questions", PROBLEM)


def _record(source: TriviaSource, row: Row) -> Record | Rejected:
    sides = [text_of(row.values.get(field), row.locator) for field in (source.text_field, source.answer_field)]
    texts = [side.strip() for side in sides if isinstance(side, str)]
    if len(texts) < len(sides):
        return next(side for side in sides if isinstance(side, Rejected))
    question, answer = texts
    return {**question_record(question, answer, row.locator, KNOWLEDGE, CREATED_BY), "license": source.license}


def draw_from_bank(context: Context, number: int, lots: random.Random) -> tuple[list[Trivia], list[Trivia]]:
    """`number` questions in random order, and the examples; a question that is a benchmark's is dropped."""
    banned = {folded(row["text"]) for row in context.inputs["benchmarks"].records("problems", columns=["text"])}
    found = list(context.inputs["trivia_questions"].records("questions", columns=["text", "answer"]))
    free = [row for row in found if folded(row["text"]) not in banned]
    if len(free) < len(found):
        context.drop("benchmark", len(found) - len(free))
    if len(free) < number + EXAMPLES:
        raise SeedmillError(
            f"refusals: trivia_questions has {len(free)} questions for {number} and {EXAMPLES} examples; lower `questions` and `held_out`"
        )
    drawn = [Trivia(row["text"], row["answer"], "", "", knowledge=True) for row in lots.sample(free, number + EXAMPLES)]
    return drawn[EXAMPLES:], drawn[:EXAMPLES]
