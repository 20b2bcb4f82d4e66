"""File formats: from a stream of bytes to raw documents, in bounded memory, every bad record accounted for.

A bad record (a line too long, bytes that are not UTF-8, JSON without the field) is rejected by name and counted. A broken
container (gzip, zstd, Parquet) is an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from factory.curation.config import SourceConfig
from factory.curation.files import Entry, Files
from factory.curation.packing import form_of, opened
from factory.curation.rows import FORMS, Rejected, read_rows, text_of

MEDIA = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "text",
    ".py": "code",
}


@dataclass(frozen=True)
class RawDocument:
    """A document as it lies in its source. `media`: html, text, markdown or code."""

    locator: str
    media: str
    text: str


def read_entry(files: Files, entry: Entry, source: SourceConfig) -> Iterator[RawDocument | Rejected]:
    """The documents of one file, streamed; the format is told by the name (`.jsonl.gz`, `.parquet`, `.md`)."""
    form = form_of(entry.path)
    if form in FORMS:
        for row in read_rows(files, entry, source, (source.text_field,)):
            yield row if isinstance(row, Rejected) else _document(row.values.get(source.text_field), row.locator, "text")
    elif form in MEDIA:
        with opened(files, entry) as stream:
            yield _whole_file(stream, entry.path, MEDIA[form], source.max_document_bytes)
    else:
        yield Rejected(entry.path, "unsupported_format")


def _whole_file(stream: IO[bytes], path: str, media: str, limit: int) -> RawDocument | Rejected:
    data = stream.read(limit + 1)
    if len(data) > limit:
        return Rejected(path, "too_long")
    try:
        return _document(data.decode("utf-8-sig"), path, media)
    except UnicodeDecodeError:
        return Rejected(path, "invalid_utf8")


def _document(value: object, locator: str, media: str) -> RawDocument | Rejected:
    text = text_of(value, locator)
    return text if isinstance(text, Rejected) else RawDocument(locator, media, text)
