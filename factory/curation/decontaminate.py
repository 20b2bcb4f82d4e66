"""`clean_documents`: without the documents that hold benchmark questions, and with the evidence for every suspicion.

Beside the verdicts stands a control: benchmark problems are planted whole into documents that were found clean, and must be found.
How many of the documents dropped were innocent only the evidence tells, so every suspicion is kept.
"""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from factory.context import Context
from factory.curation.config import DecontaminationConfig
from factory.curation.contamination import Decontaminator, Verdict
from factory.curation.filter import FILTERED
from factory.records import Record

CONTAMINATION = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("problem", pa.string(), nullable=False),
        pa.field("segment", pa.string(), nullable=False),
        pa.field("ratio", pa.float64(), nullable=False),
        pa.field("overlaps", pa.list_(pa.string()), nullable=False),
    ]
)
"""A suspicion: the document, the benchmark problem, the shared 13-gram or the overlap of 7-grams."""

CONTROLS = 100


def run(context: Context) -> None:
    """Write clean and partial documents as `documents`, contaminated and partial ones as evidence `contamination`."""
    problems = list(context.inputs["benchmarks"].records("problems", ["id", "text"]))
    decontaminator = Decontaminator(problems, context.section(DecontaminationConfig))
    evidence: list[Record] = []
    hosts: list[str] = []
    context.write_records("documents", _clean(context, decontaminator, evidence, hosts), FILTERED)
    context.write_records("contamination", evidence, CONTAMINATION)
    context.metrics["verdicts"] = dict(sorted(Counter(row["verdict"] for row in evidence).items()))
    context.metrics["control_recall"] = _recall(decontaminator, [problem["text"] for problem in problems], hosts)


def _clean(context: Context, decontaminator: Decontaminator, evidence: list[Record], hosts: list[str]) -> Iterator[Record]:
    for row in context.inputs["unique_documents"].records("documents"):
        verdict = decontaminator.check(row["text"])
        if verdict.verdict != "clean":
            evidence.append(_evidence(row, verdict))
        if verdict.contaminated:
            context.drop(verdict.verdict)
            continue
        context.keep()
        if len(hosts) < CONTROLS:
            hosts.append(row["text"][:4_000])
        yield row


def _evidence(row: Record, verdict: Verdict) -> Record:
    return {
        **{name: row[name] for name in ("id", "source", "locator")},
        "verdict": verdict.verdict,
        "problem": verdict.problem,
        "segment": verdict.segment,
        "ratio": verdict.ratio,
        "overlaps": list(verdict.overlaps),
    }


def _recall(decontaminator: Decontaminator, problems: list[str], hosts: list[str]) -> float | None:
    """The share of planted problems that are found; None where there is nothing to plant or no document to plant it in."""
    step = max(len(problems) // CONTROLS, 1)
    planted = [f"{host}\n\n{problem}\n\n{host}" for host, problem in zip(hosts, problems[::step], strict=False)]
    found = sum(decontaminator.check(text).contaminated for text in planted)
    return round(found / len(planted), 4) if planted else None
