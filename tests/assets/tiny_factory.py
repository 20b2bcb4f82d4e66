"""A graph of four tiny stages in place of the real one: as a program, it is `python -m assets.run` over that graph."""

import json
import time
from pathlib import Path

import typer

import factory.experiment
from assets import run
from factory.context import Context
from factory.errors import SeedmillError
from factory.graph.stage import Stage
from factory.settings import Section

SOURCE = Path("source.txt")
STAGES = [
    Stage("words", "curation", "Words of a file.", "tiny_factory:words", Section(), observe="tiny_factory:observe", seeded=False),
    Stage("slow", "training", "A job that can be stopped.", "tiny_factory:slow", Section(), inputs=("words",), process=True),
    Stage("some_pairs", "preference", "Perhaps no pair at all.", "tiny_factory:pairs", Section(), inputs=("words",)),
    Stage("after_pairs", "training", "What trains on the pairs.", "tiny_factory:copy", Section(), inputs=("some_pairs",)),
]


def observe(_: Section) -> str:
    return SOURCE.read_text()


def words(context: Context) -> None:
    found = SOURCE.read_text().split()
    if "mistake" in found:
        raise SeedmillError("source.txt holds a mistake: mend it")
    if "fault" in found:
        raise ZeroDivisionError("a fault of ours")
    context.made("words", len(found))
    context.write_json("words.json", sorted(set(found)))


def slow(context: Context) -> None:
    for step in range(200):
        context.message("progress", done=step + 1, total=200, unit="steps")
        with context.parts.writing(f"step-{step:03d}") as path:
            path.write_text("saved")
        time.sleep(0.1)


def pairs(context: Context) -> None:
    rows = [{"word": word} for word in context.inputs["words"].json("words.json") if word.startswith("p")]
    import pyarrow as pa

    context.write_records("pairs", rows, pa.schema([("word", pa.string())]))


def copy(context: Context) -> None:
    context.write_json("copy.json", json.loads("1"))


def build(_: object) -> dict[str, Stage]:
    return {stage.name: stage for stage in STAGES}


if __name__ == "__main__":
    factory.experiment.build = build
    typer.run(run.main)
