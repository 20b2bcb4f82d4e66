"""Rows from outside that become records: what every stage of that kind does beside making a record of a row."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from factory.context import Context
from factory.curation.config import RowsConfig
from factory.curation.files import Entry, files_at, version_of
from factory.curation.rows import Rejected, Row, read_rows
from factory.curation.sources import entries_of
from factory.errors import SeedmillError
from factory.records import Record, fingerprint
from factory.spec import Counts


def observe(source: RowsConfig) -> str:
    """The version of the files as they lie there now."""
    return version_of(entries_of(source))


@dataclass(frozen=True)
class Import:
    """What is read of the rows, and the record that is made of one."""

    source: RowsConfig
    fields: Sequence[str]
    record: Callable[[Row], Record | Rejected]
    key: Callable[[Record], bytes] = field(default=lambda record: fingerprint(record["text"]))
    """Records that share it are one."""

    def write(self, context: Context, output: str, schema: pa.Schema) -> None:
        """Write the records, each once, up to the source's limits; rows that give none are dropped by reason.

        Counts languages. Raises where no row has a field that is asked for, or none gives a record. Memory: 16 bytes a record.
        """
        entries = entries_of(self.source)
        names: set[str] = set()
        languages: Counter[str] = Counter()
        context.write_records(output, self._records(context, self._rows(entries, names), languages), schema)
        context.metrics.update(source_version=version_of(entries), languages=dict(languages.most_common()))
        self._check(context, names)
        context.log(_summary(context.counts, context.metrics["languages"]))

    def _check(self, context: Context, names: set[str]) -> None:
        where = repr(self.source.path)  # the stage's name is put before it by whoever shows the error
        if names and (absent := [field for field in self.fields if field not in names]):
            raise SeedmillError(f"{where}: no row has a field {absent[0]!r}, the first has {sorted(names)}; name its fields")
        if not context.counts.kept:
            raise SeedmillError(f"{where} holds no usable row (dropped: {context.counts.dropped}); mend its rows or path")

    def _rows(self, entries: Sequence[Entry], names: set[str]) -> Iterator[Row | Rejected]:
        """The rows of all files; `names` gets the first one's fields, and which of those that are asked for any row has."""
        files = files_at(self.source.path)
        for entry in entries:
            for row in read_rows(files, entry, self.source, self.fields):
                if isinstance(row, Row):
                    names.update(row.values.keys() & set(self.fields) if names else row.values)
                yield row

    def _records(self, context: Context, rows: Iterator[Row | Rejected], languages: Counter[str]) -> Iterator[Record]:
        size, source = 0, self.source
        for record in self._distinct(context, rows):
            size += len(record["text"].encode())
            if source.max_bytes is not None and size > source.max_bytes:
                context.metrics["stopped_by"] = "max_bytes"
                return
            context.keep()
            context.progress(context.counts.kept, source.limit_documents or 0, "rows")
            languages[record["language"] or "unknown"] += 1
            yield record
            if context.counts.kept == source.limit_documents:
                context.metrics["stopped_by"] = "limit_documents"
                return

    def _distinct(self, context: Context, rows: Iterator[Row | Rejected]) -> Iterator[Record]:
        seen: set[bytes] = set()
        for row in rows:
            found = row if isinstance(row, Rejected) else self.record(row)
            if isinstance(found, Rejected):
                context.drop(found.reason)
            elif (key := self.key(found)) in seen:
                context.drop("duplicate")
            else:
                seen.add(key)
                yield found


def _summary(counts: Counts, languages: Mapping[str, int]) -> str:
    reasons, spoken = (", ".join(f"{what} {number}" for what, number in of.items()) for of in (counts.dropped, languages))
    return f"kept {counts.kept} of {counts.read} rows; dropped: {reasons or 'none'}; languages: {spoken}"
