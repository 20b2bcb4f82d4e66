"""The record of one answer in an evaluation, and the reading of its style."""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from factory.records import Record, new_record, schema_with

Mode = Literal["greedy", "sampled"]
MODES: tuple[Mode, ...] = ("greedy", "sampled")
CREATED_BY = "evaluation@1"

ANSWER = schema_with(
    pa.field("checkpoint", pa.string(), nullable=False),
    pa.field("mode", pa.string(), nullable=False),
    pa.field("family", pa.string(), nullable=False),
    pa.field("correct", pa.bool_(), nullable=False),
    pa.field("style", pa.string(), nullable=False),
    pa.field("tokens", pa.int32(), nullable=False),
    pa.field("stopped", pa.bool_(), nullable=False),
)
"""One answer: its only parent is the question. `checkpoint` is the asset and its version."""

STYLES = {"Answer": "direct", "So ": "brief", "Start": "steps"}


@dataclass(frozen=True)
class Reply:
    """What a checkpoint answered: the text without its end token, and the number of tokens with it."""

    text: str
    tokens: int
    stopped: bool


def style_of(text: str) -> str:
    """How an answer goes about it, by its first word: `direct`, `brief`, `steps`, or `other`."""
    return next((style for start, style in STYLES.items() if text.lstrip().startswith(start)), "other")


def answer_record(question: Record, reply: Reply, *, checkpoint: str, mode: str, kind: str, number: int = 0, **columns: Any) -> Record:
    """The record of reply `number` to a question; the licence is the question's."""
    return new_record(
        source="evaluation",
        locator=f"{checkpoint}/{question['id']}/{mode}/{number}",
        text=reply.text,
        kind=kind,
        created_by=CREATED_BY,
        license=question["license"],
        language=question["language"],
        parents=[question["id"]],
        checkpoint=checkpoint,
        mode=mode,
        tokens=reply.tokens,
        stopped=reply.stopped,
        **columns,
    )
