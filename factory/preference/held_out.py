"""Is any preference pair or chat about a question that is kept for evaluation? Asked of what was written, whatever stages promised."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import pyarrow.parquet as pq

from factory.records import Record, folded


def pairs_by_domain(pairs: Path) -> dict[str, int]:
    """The number of pairs of each domain in a folder of PAIR records."""
    counts: dict[str, int] = {}
    for row in _rows(pairs, ["domain"]):
        counts[row["domain"]] = counts.get(row["domain"], 0) + 1
    return dict(sorted(counts.items()))


def held_out_pairs(pairs: Path, questions: Iterable[Path]) -> list[str]:
    """The ids of the pairs about one of the questions (folders of PROBLEM records), by id or by text; sorted."""
    held_out = _held_out(questions)
    return sorted(row["id"] for row in _rows(pairs, ["id", "question", "text"]) if held_out.intersection(_keys(row)))


def held_out_chats(conversations: Path, questions: Iterable[Path]) -> list[str]:
    """The ids of the chats (a folder of CONVERSATION records) in which a user puts one of the questions; sorted."""
    held_out = _held_out(questions)
    return sorted(
        row["id"]
        for row in _rows(conversations, ["id", "messages"])
        if any(message["role"] == "user" and folded(message["content"]) in held_out for message in row["messages"])
    )


def _held_out(questions: Iterable[Path]) -> set[str]:
    return {key for folder in questions for row in _rows(folder, ["id", "text"]) for key in (row["id"], folded(row["text"]))}


def _keys(pair: Record) -> Iterator[str]:
    """A pair's text begins with its question, and a question may have several lines."""
    yield pair["question"]
    yield from map(folded, accumulate(pair["text"].split("\n"), lambda before, line: f"{before}\n{line}"))


def _rows(folder: Path, columns: list[str]) -> Iterator[Record]:
    for part in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(part).iter_batches(columns=columns):
            yield from batch.to_pylist()
