"""Real documents (the standard library's own sources and their docstrings) and stages run on them, for the tests of this folder."""

import ast
import itertools
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from factory.context import Context, Input
from factory.records import DOCUMENT, Record, new_record, schema_with
from factory.spec import InputSpec, JobSpec

CLUSTERED = schema_with(pa.field("cluster", pa.string(), nullable=False))
SOURCES = {"pages": "web", "modules": "code", "manual": "acquired"}


def modules(start: int, stop: int) -> list[Path]:
    return sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[start:stop]


def document(source: str, locator: str, text: str, **columns) -> Record:
    return new_record(source=source, locator=locator, text=text, kind=columns.pop("kind", "document"), created_by="test@1", **columns)


def organic(count: int = 40) -> list[Record]:
    rows = []
    for path in modules(0, count):
        text = path.read_text(errors="replace")
        rows.append(document("modules", path.name, text))
        rows.append(document("pages", path.name, ast.get_docstring(ast.parse(text)) or path.name))
        rows.append(document("manual", path.name, text[:9000]))
    return rows


def written(count: int = 30) -> list[Record]:
    """Worked sums: short ones, programs, and worksheets."""
    rows = []
    for n in range(count):
        text = f"Exercise: {n} + {n + 3} = ?\nAnswer: {2 * n + 3}"
        rows.append(document("sums", str(n), text, cluster="synthetic", kind="exercise"))
        rows.append(document("sums", f"code {n}", f"x = {n}\nprint(x + 3)  # {n + 3}\n" * 10, cluster="code", kind="program"))
    for n in range(4):
        text = "\n".join(f"{a} + {b} = {a + b}" for a, b in itertools.product(range(10 * n, 10 * n + 10), range(20)))
        rows.append(document("sums", f"sheet {n}", text, cluster="synthetic", kind="worksheet"))
    return rows


def artefact(folder: Path, asset: str, rows: Iterable[Record], schema: pa.Schema = DOCUMENT) -> Path:
    """An artefact that holds the records `documents`."""
    context = stage(folder / asset, asset, {}, {})
    context.write_records("documents", rows, schema)
    return context.out


def stage(folder: Path, asset: str, section: dict, inputs: dict[str, Path], **runtime) -> Context:
    specs = {name: InputSpec(asset=name, version="v", digest="d", path=str(path)) for name, path in inputs.items()}
    return Context.of(
        JobSpec(
            key=asset,
            asset=asset,
            run="",
            section=section,
            seed=1,
            inputs=specs,
            folder=str(folder / asset.replace("/", "-")),
            runtime=runtime,
        )
    )


def opened(path: Path) -> Input:
    return Input("asset", "v", "d", path)
