"""The stage `chats/NAME`: fine-tuning conversations of one's own, from a folder or an S3 prefix of JSONL or Parquet.

They are no document source: no mixture of pretraining reads them, and each keeps its turns.
"""

import re

from factory.context import Context
from factory.curation.imports import Import
from factory.curation.language import Languages
from factory.curation.rows import Rejected, Row
from factory.records import Record, fingerprint, folded, new_record
from factory.schemas import CONVERSATION
from factory.synthesis.chat import chat_text
from factory.synthesis.messages import Messages, read_messages
from factory.synthesis.own_data import ChatSource

CREATED_BY = "chats@1"
CODE_BLOCK = re.compile(r"```.*?(```|\Z)", re.DOTALL)


def run(context: Context) -> None:
    """Write `conversations` (CONVERSATION), each once; a row that is no whole chat is dropped by reason."""
    source, detector = context.section(ChatSource), Languages()
    name = context.spec.asset.rpartition("/")[2]
    Import(source, source.fields, lambda row: _record(row, name, source, detector), said).write(context, "conversations", CONVERSATION)


def said(record: Record) -> bytes:
    """What two chats share when they differ in case and white space alone."""
    return fingerprint("\x1f".join(f"{message['role']} {folded(message['content'])}" for message in record["messages"]))


def _value(source: ChatSource, row: Row) -> object:
    """What a row says, as messages; of instruction data, an absent or empty system message is none."""
    said = [row.values.get(field) for field in source.fields]
    if not source.prompt_field:
        return said[0]
    prompt, answer, *system = said
    head = [{"role": "system", "content": text} for text in system if text]
    return [*head, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def language_of(detector: Languages, messages: Messages) -> str:
    """The language of what user and assistant say, without blocks of code; nothing where the detector is not sure."""
    said = "\n".join(message["content"] for message in messages if message["role"] != "system")
    return detector.sure(CODE_BLOCK.sub(" ", said).strip())


def _record(row: Row, name: str, source: ChatSource, detector: Languages) -> Record | Rejected:
    messages = read_messages(_value(source, row), row.locator)
    if isinstance(messages, Rejected):
        return messages
    return new_record(
        source=name,
        locator=row.locator,
        text=chat_text(messages),
        kind="conversation",
        created_by=CREATED_BY,
        license=source.license,
        language=language_of(detector, messages),
        domain=source.domain,
        messages=messages,
    )
