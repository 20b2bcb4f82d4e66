"""What a running stage sees: its section of the recipe, the exact inputs, a folder to write to, counts and progress.

Every stage of the graph is one function `run(context)`. It runs the same inside the orchestrator's process and as a job of
its own on a cluster, because all it knows comes from a `JobSpec` (JSON) and all it says goes into files beside it.
"""

import hashlib
import json
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from factory.digest import canonical_json, file_digest, schema_of
from factory.errors import SeedmillError
from factory.parts import Parts
from factory.records import DOCUMENT, Record
from factory.spec import Cost, Counts, JobSpec, Output, Result

ROWS_A_BATCH = 512
ROWS_A_PART = 100_000
SectionT = TypeVar("SectionT", bound=BaseModel)
Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Input:
    """An upstream artefact, opened for reading."""

    asset: str
    version: str
    digest: str
    path: Path
    made_from: Mapping[str, str] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """The path of an output file (or folder) called `name`."""
        path = self.path / name
        if not path.exists():
            raise SeedmillError(f"{self.asset} {self.version} holds no {name!r}; it has {sorted(p.name for p in self.path.iterdir())}")
        return path

    def parts(self, name: str) -> list[Path]:
        """The Parquet parts of the record set called `name`, in order."""
        return sorted(self.file(name).glob("part-*.parquet"))

    def batches(self, name: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The records as Arrow batches of at most `ROWS_A_BATCH` rows: bounded memory whatever the size."""
        for part in self.parts(name):
            yield from pq.ParquetFile(part).iter_batches(batch_size=ROWS_A_BATCH, columns=columns)

    def records(self, name: str, columns: list[str] | None = None) -> Iterator[Record]:
        """The records as dictionaries, in stored order."""
        for batch in self.batches(name, columns):
            yield from batch.to_pylist()

    def json(self, name: str) -> Any:
        """A JSON output file; raises `SeedmillError` where it is none, as when it was cut."""
        try:
            return json.loads(self.file(name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise SeedmillError(f"{self.asset} {self.version}: {name} is not as it was written ({error}): rebuild {self.asset}") from error


@dataclass
class Context:
    """The world of one running stage."""

    spec: JobSpec
    inputs: dict[str, Input]
    parts: Parts
    counts: Counts = field(default_factory=Counts)
    cost: Cost = field(default_factory=Cost)
    metrics: dict[str, Any] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    seeds: dict[str, int] = field(default_factory=dict)
    listen: Listener | None = None
    _last_progress: float = 0.0

    @classmethod
    def of(cls, spec: JobSpec, listen: Listener | None = None, *, writes: bool = True) -> "Context":
        """Open the context that a specification describes; the output folder is made empty by the rank that `writes`."""
        folder = Path(spec.folder)
        if writes:
            shutil.rmtree(folder / "out", ignore_errors=True)
            (folder / "out").mkdir(parents=True)
        inputs = {name: Input(i.asset, i.version, i.digest, Path(i.path), i.made_from) for name, i in spec.inputs.items()}
        parts = Parts(folder / "parts", tuple(Path(p) / "parts" for p in spec.previous))
        return cls(spec=spec, inputs=inputs, parts=parts, listen=listen)

    @property
    def out(self) -> Path:
        """The folder that becomes the artefact."""
        return Path(self.spec.folder) / "out"

    @property
    def runtime(self) -> Mapping[str, Any]:
        """What may differ between machines without changing the result: endpoints, caches, process counts."""
        return self.spec.runtime

    @property
    def cache(self) -> Path:
        """A folder shared by all stages and attempts, for content-addressed caches (teacher answers, reference log-probs)."""
        path = Path(self.spec.runtime.get("cache", Path(self.spec.folder) / "cache"))
        path.mkdir(parents=True, exist_ok=True)
        return path

    def section(self, model: type[SectionT]) -> SectionT:
        """The stage's own section of the recipe as its typed model."""
        return model.model_validate(self.spec.section)

    def seed(self, purpose: str = "") -> int:
        """A 63-bit seed for one purpose, from the experiment's seed; it is recorded in the manifest."""
        text = f"{self.spec.seed}\x1f{self.spec.asset}\x1f{purpose}".encode()
        value = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
        self.seeds[purpose or "stage"] = value
        return value

    def random(self, purpose: str = "") -> random.Random:
        """A generator of its own for one purpose, so that a new draw elsewhere changes nothing here."""
        return random.Random(self.seed(purpose))

    def keep(self, number: int = 1) -> None:
        """Count records that were read and kept."""
        self.counts.read += number
        self.counts.kept += number

    def drop(self, reason: str, number: int = 1) -> None:
        """Count records that were read and dropped for `reason`."""
        self.counts.read += number
        self.counts.dropped[reason] = self.counts.dropped.get(reason, 0) + number

    def made(self, what: str, number: int = 1) -> None:
        """Count records that the stage produced anew."""
        self.counts.made[what] = self.counts.made.get(what, 0) + number

    def write_records(self, name: str, rows: Iterable[Record], schema: pa.Schema = DOCUMENT) -> Output:
        """Write records as Parquet parts under `name/`, in bounded memory, and register them as an output."""
        folder = self.out / name
        folder.mkdir()
        digest = _RowHashes()
        part, written, writer = 0, 0, pq.ParquetWriter(folder / "part-00000.parquet", schema, compression="zstd")
        for batch in _chunks(rows, ROWS_A_BATCH):
            if written >= ROWS_A_PART:
                writer.close()
                part, written = part + 1, 0
                writer = pq.ParquetWriter(folder / f"part-{part:05d}.parquet", schema, compression="zstd")
            table = pa.Table.from_pylist(batch, schema=schema)
            digest.add(table.to_pylist())
            writer.write_table(table)
            written += len(batch)
        writer.close()
        return self._register(name, "records", sorted(folder.iterdir()), digest.hexdigest(), rows=digest.count)

    def add_file(self, name: str, *, digest: str | None = None, rows: int | None = None, tokens: int | None = None) -> Output:
        """Register a file (or a folder of files) that the stage wrote under `out` as an output; its bytes are its content."""
        path = self.out / name
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        if digest is None:
            names = {p.relative_to(self.out).as_posix(): file_digest(p) for p in files}
            digest = hashlib.sha256(canonical_json(names)).hexdigest()
        return self._register(name, "file", files, digest, rows=rows, tokens=tokens)

    def add_checkpoint(self, name: str, *, digest: str, tokens: int | None = None) -> Output:
        """Register a checkpoint folder; `digest` is over its tensors (`factory.digest.tensors_digest`), not its files."""
        files = sorted(p for p in (self.out / name).rglob("*") if p.is_file())
        return self._register(name, "checkpoint", files, digest, tokens=tokens)

    def write_json(self, name: str, value: Any) -> Output:
        """Write a small JSON output file."""
        (self.out / name).write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        return self.add_file(name)

    def progress(self, done: float, total: float, unit: str, **metrics: float) -> None:
        """Say how far the stage is; `metrics` (loss, rate) are shown beside it. At most a few lines a second are written."""
        now = time.monotonic()
        if now - self._last_progress < 0.3 and done < total:
            return
        self._last_progress = now
        self.message("progress", done=done, total=total, unit=unit, **metrics)

    def log(self, text: str) -> None:
        """One line for the people who watch the stage."""
        self.message("log", text=text)

    def message(self, kind: str, **fields: Any) -> None:
        """Append one line to the message file that the orchestrator follows by byte offset."""
        message = {"kind": kind, "time": time.time(), **fields}
        if self.listen:
            self.listen(message)
        line = json.dumps(message) + "\n"
        with (Path(self.spec.folder) / "messages.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(line)

    def result(self) -> Result:
        """What `result.json` will say; raises when the counts do not add up."""
        self.counts.check(self.spec.asset)
        return Result(outputs=self.outputs, counts=self.counts, cost=self.cost, metrics=self.metrics, seeds=self.seeds)

    def _register(
        self,
        name: str,
        kind: Literal["records", "file", "checkpoint"],
        files: list[Path],
        digest: str,
        *,
        rows: int | None = None,
        tokens: int | None = None,
    ) -> Output:
        hashes = {p.relative_to(self.out).as_posix(): file_digest(p) for p in files}
        size = sum(p.stat().st_size for p in files)
        output = Output(name=name, kind=kind, files=hashes, bytes=size, digest=digest, rows=rows, tokens=tokens)
        self.outputs.append(output)
        return output


class _RowHashes:
    """The digest of a set of records, built up batch by batch (same value as `factory.digest.rows_digest`)."""

    def __init__(self) -> None:
        self._hashes: list[bytes] = []

    @property
    def count(self) -> int:
        return len(self._hashes)

    def add(self, rows: list[Record]) -> None:
        self._hashes.extend(hashlib.sha256(canonical_json(row)).digest() for row in rows)

    def hexdigest(self) -> str:
        return hashlib.sha256(b"".join(sorted(self._hashes))).hexdigest()


def _chunks(rows: Iterable[Record], size: int) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def read_schema(folder: Path) -> pa.Schema:
    """The schema of a record set's first part."""
    return schema_of(min(folder.glob("part-*.parquet")))
