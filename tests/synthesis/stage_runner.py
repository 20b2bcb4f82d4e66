"""Runs stages one after the other in a folder, each on the outputs of those before."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from factory.context import Context, Input
from factory.digest import rows_digest
from factory.job import load
from factory.records import Record
from factory.settings import Section
from factory.spec import InputSpec, JobSpec, Result


@dataclass
class Finished:
    """A stage that ran: its result, and its output opened for reading."""

    result: Result
    output: Input

    def records(self, name: str) -> list[Record]:
        return list(self.output.records(name))

    def digest(self, name: str) -> str:
        return next(output.digest for output in self.result.outputs if output.name == name)


class Runner:
    """Runs stages one after the other in a folder; each is given earlier outputs by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: dict[str, Finished] = {}
        self.runs = 0

    def __call__(self, asset: str, function: str, section: Section, *inputs: str, seed: int = 0, **runtime: object) -> Finished:
        self.runs += 1
        folder = self.folder / f"{self.runs:02d}-{asset}"
        folder.mkdir(parents=True)
        specs = {name: InputSpec(asset=name, version="v", digest="d", path=str(self.done[name].output.path)) for name in inputs}
        runtime = {"cache": str(self.folder / "cache"), **runtime}
        spec = JobSpec(
            key=asset, asset=asset, run=function, section=section.model_dump(), seed=seed, inputs=specs, folder=str(folder), runtime=runtime
        )
        context = Context.of(spec)
        load(function)(context)
        finished = Finished(context.result(), Input(asset, "v", "d", context.out))
        self.done[asset] = finished
        return finished

    def provide(self, asset: str, name: str, rows: list[Record], schema: pa.Schema, **others: tuple[list[Record], pa.Schema]) -> None:
        """Put records, and `others` by name, in place of a stage that another room owns."""
        spec = JobSpec(key=asset, asset=asset, run="", section={}, seed=0, inputs={}, folder=str(self.folder / asset))
        context = Context.of(spec)
        for output, (records, columns) in {name: (rows, schema), **others}.items():
            assert context.write_records(output, records, columns).digest == rows_digest(records)
        self.done[asset] = Finished(context.result(), Input(asset, "v", "d", context.out))
