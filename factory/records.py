"""The record: one document, question, conversation or preference pair, with its stable id and its parents.

Every record keeps the ids that it was made from, so a pair can be traced to its seed documents and a seed to all that it
fed. Ids hash content and origin, never a path of this machine, a host or a time.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

BASE_FIELDS = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("parents", pa.list_(pa.string()), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("locator", pa.string(), nullable=False),
    pa.field("license", pa.string(), nullable=False),
    pa.field("language", pa.string(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("created_by", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
)

DOCUMENT = pa.schema(list(BASE_FIELDS))

Record = dict[str, Any]


def schema_with(*fields: pa.Field) -> pa.Schema:
    """The document schema followed by a stage's own columns."""
    return pa.schema([*BASE_FIELDS, *fields])


def record_id(source: str, locator: str, text: str) -> str:
    r"""16 hex digits (64 bits) over source, locator and normalised text.

    Normalised means line ends as `\n` and no white space at either end: a re-download that only differs there keeps its id.
    """
    normal = text.replace("\r\n", "\n").strip()
    payload = "\x1f".join((source, locator, normal)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(payload, digest_size=8).hexdigest()


def new_record(
    *,
    source: str,
    locator: str,
    text: str,
    kind: str,
    created_by: str,
    license: str = "unknown",
    language: str = "",
    parents: Iterable[str] = (),
    **columns: Any,
) -> Record:
    """A record with its id computed; `columns` are the stage-specific ones.

    `created_by` is `TRANSFORM@VERSION`, with the teacher's model and prompt id appended where one had a part in it.
    """
    return {
        "id": record_id(source, locator, text),
        "parents": sorted(set(parents)),
        "source": source,
        "locator": locator,
        "license": license,
        "language": language,
        "kind": kind,
        "created_by": created_by,
        "text": text,
        **columns,
    }


def derive(parent: Mapping[str, Any], *, text: str, created_by: str, kind: str | None = None, **columns: Any) -> Record:
    """A record made from one parent: licence, language, source and locator travel with it."""
    return new_record(
        source=parent["source"],
        locator=parent["locator"],
        text=text,
        kind=kind or parent["kind"],
        created_by=created_by,
        license=parent["license"],
        language=parent["language"],
        parents=[parent["id"]],
        **columns,
    )


def folded(text: str) -> str:
    """Text without case and with single spaces: the form in which questions and other short texts are compared."""
    return " ".join(text.casefold().split())


def fingerprint(text: str) -> bytes:
    """16 bytes that texts share which differ in case and white space alone."""
    return hashlib.blake2b(folded(text).encode(), digest_size=16).digest()
