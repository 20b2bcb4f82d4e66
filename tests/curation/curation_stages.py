"""Runs one stage of curation on artefacts made by hand, or on what an earlier stage wrote."""

import importlib
from pathlib import Path

from factory.context import Context
from factory.records import DOCUMENT, new_record
from factory.spec import InputSpec, JobSpec


def context_of(folder: Path, asset: str, section: dict, inputs: dict[str, Path] | None = None) -> Context:
    specs = {name: InputSpec(asset=name, version="v1", digest="d", path=str(path)) for name, path in (inputs or {}).items()}
    home = folder / asset.replace("/", "+")
    return Context.of(JobSpec(key=asset, asset=asset, run="", section=section, seed=7, inputs=specs, folder=str(home)))


def run(folder: Path, asset: str, module: str, section: dict, inputs: dict[str, Path] | None = None) -> Context:
    """Run `factory.curation.MODULE:run`; the counts must add up."""
    context = context_of(folder, asset, section, inputs)
    importlib.import_module(f"factory.curation.{module}").run(context)
    context.result()
    return context


def rows(context: Context, name: str = "") -> list[dict]:
    """The records of an output, of the first one where no name is given."""
    import pyarrow.parquet as pq

    return [
        row
        for part in sorted((context.out / (name or context.outputs[0].name)).glob("*.parquet"))
        for row in pq.read_table(part).to_pylist()
    ]


def digest(context: Context, name: str = "documents") -> str:
    return next(output.digest for output in context.outputs if output.name == name)


def artefact(folder: Path, name: str, documents: list[dict], schema=DOCUMENT, output: str = "documents") -> Path:
    context = context_of(folder, f"given_{name}", {})
    context.write_records(output, documents, schema)
    return context.out


def document(text: str, locator: str = "page", source: str = "web", kind: str = "document", **columns) -> dict:
    return new_record(source=source, locator=locator, text=text, kind=kind, created_by="test@1", license="CC0-1.0", **columns)
