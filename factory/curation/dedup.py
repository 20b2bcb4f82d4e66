"""`unique_documents`: without exact and near duplicates, and with the evidence of what was removed for what.

Two passes over the documents: the first fills the index, the second writes what stays. Of two alike, the one read first stays.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from factory.context import Context, Input
from factory.curation.config import DedupConfig
from factory.curation.filter import FILTERED
from factory.curation.similarity import NearDuplicates
from factory.records import Record

DUPLICATE = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        pa.field("duplicate_of", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("jaccard", pa.float32(), nullable=False),
    ]
)
"""Why a document was removed: the id of the one that stays, and how alike they are (exact: 1)."""


@dataclass(frozen=True)
class Verdict:
    """A document's twin that stays."""

    id: str
    rule: str
    jaccard: float


@dataclass
class Losses:
    """Documents read and dropped, by source."""

    read: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def shares(self) -> dict[str, float]:
        """The share of its documents that each source lost."""
        return {source: round(self.dropped[source] / count, 4) for source, count in sorted(self.read.items())}


def run(context: Context) -> None:
    """Write the documents that stay as `documents` and the evidence for the others as `duplicates`."""
    config = context.section(DedupConfig)
    documents = context.inputs["filtered_documents"]
    verdicts = _verdicts(context, documents, config)
    evidence: list[Record] = []
    losses = Losses()
    context.write_records("documents", _unique(context, documents, verdicts, evidence, losses), FILTERED)
    context.write_records("duplicates", evidence, DUPLICATE)
    context.metrics["lost_by_source"] = losses.shares()
    context.metrics["warnings"] = _warnings(losses, config)
    for warning in context.metrics["warnings"]:
        context.log(warning)


def _verdicts(context: Context, documents: Input, config: DedupConfig) -> dict[int, Verdict]:
    """The verdict on each document to drop, by its position."""
    index = NearDuplicates(config, Path(context.spec.folder))
    places: list[tuple[int, str]] = []
    verdicts: dict[int, Verdict] = {}
    for fresh in _fresh(documents, verdicts):
        places.extend((position, identity) for position, identity, _ in fresh)
        index.add([text for *_, text in fresh])
    for match in index.matches():
        verdicts[places[match.index][0]] = Verdict(places[match.kept][1], "near", match.jaccard)
    context.metrics["unverified_candidates"] = index.unverified
    return verdicts


def _fresh(documents: Input, verdicts: dict[int, Verdict]) -> Iterator[list[tuple[int, str, str]]]:
    """Batches of (position, id, text) of documents seen for the first time; the verdicts on the others are noted."""
    seen: dict[bytes, str] = {}
    position = 0
    for batch in documents.batches("documents", ["id", "text"]):
        fresh = []
        for row in batch.to_pylist():
            twin = seen.setdefault(fingerprint(row["text"]), row["id"])
            if twin == row["id"]:
                fresh.append((position, row["id"], row["text"]))
            else:
                verdicts[position] = Verdict(twin, "exact", 1.0)
            position += 1
        yield fresh


def fingerprint(text: str) -> bytes:
    """16 bytes that are the same for texts that differ only in case, white space or Unicode composition."""
    normal = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    return hashlib.blake2b(normal.encode(), digest_size=16).digest()


def _unique(context: Context, documents: Input, verdicts: dict[int, Verdict], evidence: list[Record], losses: Losses) -> Iterator[Record]:
    for position, row in enumerate(documents.records("documents")):
        verdict = verdicts.get(position)
        losses.read[row["source"]] += 1
        if verdict is None:
            context.keep()
            yield row
            continue
        context.drop(f"{verdict.rule}_duplicate")
        losses.dropped[row["source"]] += 1
        names = {name: row[name] for name in ("id", "source", "locator")}
        evidence.append({**names, "duplicate_of": verdict.id, "rule": verdict.rule, "jaccard": verdict.jaccard})


def _warnings(losses: Losses, config: DedupConfig) -> list[str]:
    return [
        f"source {source!r} lost {share:.0%} of its documents as duplicates, more than {config.warn_loss:.0%}; look at `duplicates`"
        for source, share in losses.shares().items()
        if share > config.warn_loss
    ]
