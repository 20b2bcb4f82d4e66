"""The stage `trivia_questions`: trivia of one's own, such as TriviaQA's, from a folder or an S3 prefix of JSONL or Parquet.

It is no document source: what a model is asked from memory must not be among the texts that it reads.
"""

import random
from collections.abc import Iterator

from factory.context import Context
from factory.curation.files import Entry, files_at, version_of
from factory.curation.rows import Rejected, Row, read_rows, text_of
from factory.curation.sources import entries_of
from factory.errors import SeedmillError
from factory.preference.config import TriviaSource
from factory.preference.held_out import plain
from factory.preference.trivia import Trivia
from factory.preference.trivia_records import KNOWLEDGE, question_record
from factory.records import Record
from factory.schemas import PROBLEM

CREATED_BY = "trivia_questions@1"
EXAMPLES = 3
"""Questions that are shown with their answers before each question that a base model is asked, and are never asked."""


def observe(source: TriviaSource) -> str:
    """The version of the folder as it lies there now."""
    return version_of(entries_of(source, "trivia source"))


def run(context: Context) -> None:
    """Write `questions` (PROBLEM), each once; a row without question or answer is dropped by reason."""
    source = context.section(TriviaSource)
    entries = entries_of(source, "trivia source")
    context.metrics["source_version"] = version_of(entries)
    context.write_records("questions", _questions(context, source, entries), PROBLEM)
    if not context.counts.kept:
        fields = f"{source.text_field!r} and {source.answer_field!r}"
        raise SeedmillError(f"{source.path!r} holds no row with {fields} (dropped: {context.counts.dropped}); set text_field, answer_field")


def _questions(context: Context, source: TriviaSource, entries: list[Entry]) -> Iterator[Record]:
    seen: set[str] = set()
    for row in _rows(source, entries):
        found = row if isinstance(row, Rejected) else _record(source, row)
        if isinstance(found, Rejected):
            context.drop(found.reason)
        elif (key := plain(found["text"])) in seen:
            context.drop("duplicate")
        else:
            seen.add(key)
            context.keep()
            yield found
            if context.counts.kept == source.limit_documents:
                return


def _rows(source: TriviaSource, entries: list[Entry]) -> Iterator[Row | Rejected]:
    files = files_at(source.path)
    return (row for entry in entries for row in read_rows(files, entry, source, (source.text_field, source.answer_field)))


def _record(source: TriviaSource, row: Row) -> Record | Rejected:
    sides = [text_of(row.values.get(field), row.locator) for field in (source.text_field, source.answer_field)]
    texts = [side.strip() for side in sides if isinstance(side, str)]
    if len(texts) < len(sides):
        return next(side for side in sides if isinstance(side, Rejected))
    question, answer = texts
    return {**question_record(question, answer, row.locator, KNOWLEDGE, CREATED_BY), "license": source.license}


def draw_from_bank(context: Context, number: int, lots: random.Random) -> tuple[list[Trivia], list[Trivia]]:
    """`number` questions in random order, and the examples; a question that is a benchmark's is dropped."""
    banned = {plain(row["text"]) for row in context.inputs["benchmarks"].records("problems", columns=["text"])}
    found = list(context.inputs["trivia_questions"].records("questions", columns=["text", "answer"]))
    free = [row for row in found if plain(row["text"]) not in banned]
    if len(free) < len(found):
        context.drop("benchmark", len(found) - len(free))
    if len(free) < number + EXAMPLES:
        raise SeedmillError(
            f"refusals: trivia_questions has {len(free)} questions for {number} and {EXAMPLES} examples; lower `questions` and `held_out`"
        )
    drawn = [Trivia(row["text"], row["answer"], "", "", knowledge=True) for row in lots.sample(free, number + EXAMPLES)]
    return drawn[EXAMPLES:], drawn[:EXAMPLES]
