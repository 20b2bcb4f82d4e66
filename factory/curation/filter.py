"""`filtered_documents`: languages that we want, text that is no wreck, and a predicted educational quality.

Two passes: the first draws the documents that the annotator grades (those with the smallest ids: ids are hashes, so that is
a fair draw, and a stable one), the second judges every document.
"""

import heapq
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from factory.context import Context, Input
from factory.curation.config import FilterConfig
from factory.curation.corruption import corruption
from factory.curation.language import CODE, Languages
from factory.curation.quality import EXCERPT, Annotator, QualityClassifier, RuleAnnotator
from factory.errors import SeedmillError
from factory.records import Record, schema_with

FILTERED = schema_with(pa.field("quality", pa.float32(), nullable=False))
BINS = 20


def run(context: Context) -> None:
    """Filter `documents`; each is kept with its language and quality, or dropped by reason."""
    filter_documents(context, context.inputs["extracted_documents"], RuleAnnotator())


def filter_documents(context: Context, documents: Input, annotator: Annotator) -> None:
    """Filter with a classifier that learns from `annotator`, which may be a teacher."""
    config = context.section(FilterConfig)
    classifier = _trained(context, documents, annotator, config)
    languages: Counter[str] = Counter()
    histogram = np.zeros(BINS, dtype=np.int64)
    context.write_records("documents", _filtered(context, documents, classifier, config, languages, histogram), FILTERED)
    context.metrics["language_histogram"] = dict(languages.most_common())
    context.metrics["quality_histogram"] = {"edges": [round(i / BINS, 3) for i in range(BINS + 1)], "counts": histogram.tolist()}


def _trained(context: Context, documents: Input, annotator: Annotator, config: FilterConfig) -> QualityClassifier:
    rows = ((row["id"], row["text"][:EXCERPT]) for row in documents.records("documents", ["id", "text"]))
    sample = [text for _, text in heapq.nsmallest(config.annotations, rows)]
    if not sample:
        raise SeedmillError("extracted_documents is empty: there is nothing to filter; look at the sources' drop counts")
    classifier = QualityClassifier()
    agreement = classifier.fit(sample, annotator.grade(sample))
    context.metrics |= {"annotator": annotator.name, "annotations": len(sample), "quality_agreement": agreement}
    return classifier


def _filtered(
    context: Context,
    documents: Input,
    classifier: QualityClassifier,
    config: FilterConfig,
    languages: Counter[str],
    histogram: np.ndarray,
) -> Iterator[Record]:
    detector = Languages()
    for batch in documents.batches("documents"):
        rows = [row for row in batch.to_pylist() if _passes(context, row, detector, config, languages)]
        scores = classifier.score([row["text"] for row in rows]) if rows else np.zeros(0)
        histogram += np.histogram(scores, bins=BINS, range=(0, 1))[0]
        for row, score in zip(rows, scores.tolist(), strict=True):
            if score < config.min_quality:
                context.drop("low_quality")
            else:
                context.keep()
                yield {**row, "quality": score}
        context.progress(context.counts.read, 0, "documents")


def _passes(context: Context, row: Record, detector: Languages, config: FilterConfig, languages: Counter[str]) -> bool:
    """Judge all but quality; sets the row's language. Counts what is dropped."""
    reason = _fault(row["text"], config, code=row["kind"] == CODE)
    if reason is None:
        row["language"], confidence = (CODE, 1.0) if row["kind"] == CODE else detector.detect(row["text"])
        languages[row["language"]] += 1
        if confidence < config.min_confidence:
            reason = "language_unsure"
        elif row["language"] not in (CODE, *config.languages):
            reason = "language"
    if reason:
        context.drop(reason)
    return reason is None


def _fault(text: str, config: FilterConfig, *, code: bool) -> str | None:
    if len(text) < config.min_characters:
        return "too_short"
    if len(text) > config.max_characters:
        return "too_long"
    return corruption(text, config, code=code)
