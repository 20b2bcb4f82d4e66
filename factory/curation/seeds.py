"""`seed_passages`: where synthetic data begins. Educational documents first, then their passages that reason or state facts.

The two-stage filter of section 2.2 of the report: documents by quality, passages by reasoning and by factual content. A
passage travels with its tags: both are seeds.
"""

import heapq
from collections.abc import Iterator
from itertools import count

import pyarrow as pa

from factory.context import Context
from factory.curation.config import SeedConfig
from factory.curation.language import CODE
from factory.curation.passages import Passage, passages
from factory.curation.tags import TAG_FIELDS, TAGGER, tag
from factory.records import Record, derive, schema_with

CREATED_BY = f"seed_passages@1; {TAGGER}"
SEED = schema_with(
    pa.field("start_line", pa.int32(), nullable=False),
    pa.field("end_line", pa.int32(), nullable=False),
    *TAG_FIELDS,
    pa.field("dependencies", pa.list_(pa.string()), nullable=False),
    pa.field("educational", pa.float32(), nullable=False),
)


def run(context: Context) -> None:
    """Write the best `passages`, best first; documents are counted as kept when a passage of theirs was in the running."""
    config = context.section(SeedConfig)
    best: list[tuple[float, str, int, Record]] = []
    order = count()
    considered = 0
    for document in context.inputs["clean_documents"].records("documents"):
        for seed in _seeds(context, document, config):
            considered += 1
            # The running number keeps the comparison from ever reaching the record.
            item = (merit(seed), seed["id"], next(order), seed)
            (heapq.heappush if len(best) < config.max_passages else heapq.heappushpop)(best, item)
    context.write_records("passages", (seed for *_, seed in sorted(best, reverse=True)), SEED)
    context.made("passages", len(best))
    context.metrics |= {"tagger": TAGGER, "passages_considered": considered, "mean_merit": _mean([item[0] for item in best])}


def merit(seed: Record) -> float:
    """What passages are ranked by: reasoning and factual content, in an educational document."""
    return seed["reasoning"] + seed["factual"] + seed["educational"]


def _seeds(context: Context, document: Record, config: SeedConfig) -> list[Record]:
    """The best passages of a document that pass the second stage; counts the document."""
    if document["quality"] < config.min_educational:
        context.drop("low_educational")
        return []
    found = {seed["id"]: seed for seed in _passages(document, config)}
    fit = [seed for seed in found.values() if seed["reasoning"] >= config.min_reasoning or seed["factual"] >= config.min_factual]
    if fit:
        context.keep()
    else:
        context.drop("no_passage")
    return heapq.nlargest(config.max_passages_a_document, fit, key=merit)


def _passages(document: Record, config: SeedConfig) -> Iterator[Record]:
    code = document["kind"] == CODE
    before: Passage | None = None
    bounds = {"shortest": config.min_passage_characters, "longest": config.max_passage_characters}
    for passage in passages(document["text"], code=code, **bounds):
        tags = tag(passage.text, code=code)
        yield derive(
            document,
            text=passage.text,
            created_by=CREATED_BY,
            start_line=passage.start,
            end_line=passage.end,
            dependencies=[f"{before.start}-{before.end}"] if before and tags.refers_back else [],
            educational=document["quality"],
            **tags.columns(),
        )
        before = passage


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 3) if values else 0.0
