"""`raw_documents/SOURCE`: a source's documents as they lie there, decoded, nothing changed.

`observe` tells a source's version without reading documents, so that a changed file makes the right artefacts stale. What the
stage then reads is held against that observation.
"""

from collections.abc import Iterator

import pyarrow as pa

from factory.context import Context
from factory.curation.builtin import builtin_documents, builtin_version
from factory.curation.config import FolderConfig, SourceConfig
from factory.curation.files import Entry, chosen, files_at, version_of
from factory.curation.readers import RawDocument, read_entry
from factory.curation.rows import Rejected
from factory.errors import SeedmillError
from factory.records import Record, new_record, schema_with

RAW = schema_with(pa.field("media", pa.string(), nullable=False))
CREATED_BY = "raw_documents@1"


def observe(source: SourceConfig) -> str:
    """The version of a source as it lies there now: 16 hex digits over relative paths and content digests, never over where it lies."""
    return version_of(entries_of(source)) if source.kind == "folder" else builtin_version(source)


def run(context: Context) -> None:
    """Read one source into `documents`; a record that cannot be read is dropped by reason."""
    source = context.section(SourceConfig)
    name = context.spec.asset.rpartition("/")[2]
    if source.kind == "folder":
        entries = entries_of(source)
        version, found = version_of(entries), _folder_documents(source, entries)
    else:
        version, found = builtin_version(source), builtin_documents(source)
    context.metrics["source_version"] = version
    context.write_records("documents", _records(context, name, source, found), RAW)
    if not context.counts.kept:
        raise SeedmillError(f"source {name!r} gave no document (dropped: {context.counts.dropped}); correct its path, include or limits")


def entries_of(source: FolderConfig) -> list[Entry]:
    """The files of a folder or prefix that the source asks for; raises where there is none."""
    entries = chosen(files_at(source.path).list(), source.include)
    if not entries:
        raise SeedmillError(f"source {source.path!r} has no file that matches {list(source.include)}; correct its path or include")
    return entries


def _folder_documents(source: SourceConfig, entries: list[Entry]) -> Iterator[RawDocument | Rejected]:
    files = files_at(source.path)
    for entry in entries:
        yield from read_entry(files, entry, source)


def _records(context: Context, name: str, source: SourceConfig, found: Iterator[RawDocument | Rejected]) -> Iterator[Record]:
    size = 0
    for item in found:
        if isinstance(item, Rejected):
            context.drop(item.reason)
            continue
        size += len(item.text.encode())
        if source.max_bytes is not None and size > source.max_bytes:
            context.metrics["stopped_by"] = "max_bytes"
            return
        context.keep()
        context.progress(context.counts.kept, source.limit_documents or 0, "documents")
        yield _record(name, source, item)
        if context.counts.kept == source.limit_documents:
            context.metrics["stopped_by"] = "limit_documents"
            return


def _record(name: str, source: SourceConfig, item: RawDocument) -> Record:
    return new_record(
        source=name,
        locator=item.locator,
        text=item.text,
        kind="code" if item.media == "code" else "document",
        created_by=CREATED_BY,
        license=source.license,
        media=item.media,
    )
