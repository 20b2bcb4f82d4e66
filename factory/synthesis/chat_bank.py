"""The stage `chats/NAME`: fine-tuning conversations of one's own, from a folder or an S3 prefix of JSONL or Parquet.

They are no document source: no mixture of pretraining reads them, and each keeps its turns.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from factory.context import Context
from factory.curation.files import Entry, files_at, version_of
from factory.curation.language import Languages
from factory.curation.rows import Rejected, Row, read_rows
from factory.curation.sources import entries_of
from factory.errors import SeedmillError
from factory.preference.held_out import plain
from factory.records import Record, new_record
from factory.schemas import CONVERSATION
from factory.spec import Counts
from factory.synthesis.chat import chat_text
from factory.synthesis.config import ChatSource
from factory.synthesis.messages import Messages, read_messages

CREATED_BY = "chats@1"
CONFIDENT = 0.7
"""Least confidence at which a chat is tagged with its language."""
CODE_BLOCK = re.compile(r"```.*?(```|\Z)", re.DOTALL)


def observe(source: ChatSource) -> str:
    """The version of the folder as it lies there now."""
    return version_of(entries_of(source, "chats"))


def run(context: Context) -> None:
    """Write `conversations` (CONVERSATION), each once; a row that is no whole chat is dropped by reason."""
    source = context.section(ChatSource)
    entries = entries_of(source, "chats")
    context.metrics["source_version"] = version_of(entries)
    names: set[str] = set()
    languages: Counter[str] = Counter()
    context.write_records("conversations", _records(context, source, _rows(source, entries, names), languages), CONVERSATION)
    context.metrics["languages"] = dict(languages.most_common())
    _check(context, source, names)
    context.log(_summary(context.counts, context.metrics["languages"]))


def _check(context: Context, source: ChatSource, names: set[str]) -> None:
    if names and (absent := [field for field in source.fields if field not in names]):
        has = f"no row has a field {absent[0]!r}, the first has {sorted(names)}"
        raise SeedmillError(f"chats {source.path!r}: {has}; set messages_field, or prompt_field and answer_field")
    if not context.counts.kept:
        raise SeedmillError(f"chats {source.path!r} hold no usable chat (dropped: {context.counts.dropped}); mend its rows or path")


def _summary(counts: Counts, languages: Mapping[str, int]) -> str:
    reasons, spoken = (", ".join(f"{what} {number}" for what, number in of.items()) for of in (counts.dropped, languages))
    return f"kept {counts.kept} of {counts.read} chats; dropped: {reasons or 'none'}; languages: {spoken}"


def fingerprint(messages: Messages) -> bytes:
    """16 bytes that two chats share when they differ in case and white space alone."""
    said = "\x1f".join(f"{message['role']} {plain(message['content'])}" for message in messages)
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def _rows(source: ChatSource, entries: list[Entry], names: set[str]) -> Iterator[Row | Rejected]:
    """The rows of all files; `names` gets the first one's fields, and which of those that are asked for any row has."""
    files = files_at(source.path)
    for entry in entries:
        for row in read_rows(files, entry, source, source.fields):
            if isinstance(row, Row):
                names.update(row.values.keys() & source.fields if names else row.values)
            yield row


def _records(context: Context, source: ChatSource, rows: Iterator[Row | Rejected], languages: Counter[str]) -> Iterator[Record]:
    name, detector = context.spec.asset.rpartition("/")[2], Languages()
    size = 0
    for locator, messages in _chats(context, source, rows):
        record = _record(name, source, locator, messages, language_of(detector, messages))
        size += len(record["text"].encode())
        if source.max_bytes is not None and size > source.max_bytes:
            context.metrics["stopped_by"] = "max_bytes"
            return
        context.keep()
        context.progress(context.counts.kept, source.limit_documents or 0, "chats")
        languages[record["language"] or "unknown"] += 1
        yield record
        if context.counts.kept == source.limit_documents:
            context.metrics["stopped_by"] = "limit_documents"
            return


def _chats(context: Context, source: ChatSource, rows: Iterator[Row | Rejected]) -> Iterator[tuple[str, Messages]]:
    """Each chat once, with its locator; what is none is counted by reason. Memory: 16 bytes a chat."""
    seen: set[bytes] = set()
    for row in rows:
        found = row if isinstance(row, Rejected) else read_messages(_value(source, row), row.locator)
        if isinstance(found, Rejected):
            context.drop(found.reason)
        elif (key := fingerprint(found)) in seen:
            context.drop("duplicate")
        else:
            seen.add(key)
            yield row.locator, found


def _value(source: ChatSource, row: Row) -> object:
    """What a row says, as messages; of instruction data, an absent or empty system message is none."""
    said = [row.values.get(field) for field in source.fields]
    if not source.prompt_field:
        return said[0]
    prompt, answer, *system = said
    head = [{"role": "system", "content": text} for text in system if text]
    return [*head, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def language_of(detector: Languages, messages: Messages) -> str:
    """The language of what user and assistant say, without blocks of code; nothing where the detector is not confident."""
    said = "\n".join(message["content"] for message in messages if message["role"] != "system")
    language, confidence = detector.detect(CODE_BLOCK.sub(" ", said).strip())
    return language if confidence >= CONFIDENT else ""


def _record(name: str, source: ChatSource, locator: str, messages: Messages, language: str) -> Record:
    return new_record(
        source=name,
        locator=locator,
        text=chat_text(messages),
        kind="conversation",
        created_by=CREATED_BY,
        license=source.license,
        language=language,
        domain=source.domain,
        messages=messages,
    )
