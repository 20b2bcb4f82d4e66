"""A graph of four tiny stages, for tests of what surrounds every stage: identity, states, attempts, kills, rebuilds."""

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from factory.cluster.local import LocalLauncher
from factory.context import Context
from factory.experiment import Experiment
from factory.graph.stage import Stage
from factory.materialize import materialize
from factory.records import new_record
from factory.settings import Section
from factory.store.local import LocalStore


class Source(Section):
    path: str


class Words(Section):
    lowest: int = 1


class Loud(Section):
    mark: str = "!"


class Nothing(Section):
    pass


@dataclass
class Mini:
    """What an `Experiment` needs of a recipe, and the settings that tests vary."""

    workspace: Path
    name: str = "mini"
    seed: int = 0
    process: bool = False
    words: Words = field(default_factory=Words)
    loud: Loud = field(default_factory=Loud)
    words_code: int = 1

    def build(self) -> dict[str, Stage]:
        source = Source(path=str(self.workspace / "source.txt"))
        stages = [
            Stage("raw", "g", "", "miniature:raw", source, observe="miniature:observe", seeded=False),
            Stage(
                "words", "g", "", "miniature:words", self.words, ("raw",), code_version=self.words_code, process=self.process, seeded=False
            ),
            Stage("loud", "g", "", "miniature:loud", self.loud, ("words",), process=self.process),
            Stage("total", "g", "", "miniature:total", Nothing(), ("words", "loud"), seeded=False),
        ]
        return {stage.name: stage for stage in stages}

    def experiment(self) -> Experiment:
        """Opened anew, as another process would."""
        import factory.experiment as module

        before, module.build = module.build, lambda recipe: recipe.build()
        try:
            return Experiment(self, LocalStore(self.workspace / "store"), LocalLauncher(self.workspace / "jobs", grace_seconds=5))  # type: ignore[arg-type] - has what an experiment asks of a recipe
        finally:
            module.build = before


def observe(section: Source) -> str:
    return Path(section.path).read_text()


def raw(context: Context) -> None:
    text = Path(context.section(Source).path).read_text()
    rows = (new_record(source="s", locator=str(n), text=line, kind="line", created_by="raw@1") for n, line in enumerate(text.split()))
    context.keep(context.write_records("documents", rows).rows or 0)


def words(context: Context) -> None:
    """Keep long lines; records one part for each line, so that a killed attempt goes on."""
    lowest, kept = context.section(Words).lowest, []
    for row in list(context.inputs["raw"].records("documents")):
        _pause(context)
        if context.parts.find(row["id"]) is None:
            with context.parts.writing(row["id"]) as path:
                path.write_text(str(os.getpid()))
        if len(row["text"]) < lowest:
            context.drop("short")
            continue
        context.keep()
        kept.append(row)
    context.metrics["workers"] = len({context.parts.find(name).read_text() for name in context.parts.names()})
    context.write_records("documents", kept)


def loud(context: Context) -> None:
    mark, number = context.section(Loud).mark, context.random("draw").randrange(1000)
    lines = [row["text"] + mark for row in context.inputs["words"].records("documents")]
    context.write_json("loud.json", {"lines": sorted(lines), "number": number})


def total(context: Context) -> None:
    context.write_json("total.json", {"lines": len(context.inputs["loud"].json("loud.json")["lines"])})


def _pause(context: Context) -> None:
    """Wait as long as the file that a test names is there and so many lines are done: the middle of the stage."""
    pause = Path(os.environ.get("MINIATURE_PAUSE", "/nonexistent"))
    while pause.exists() and len(context.parts.names()) >= 2:
        pause.with_suffix(".reached").touch()
        time.sleep(0.05)


def main(workspace: str, process: str, asset: str) -> None:
    """Materialize an asset with all above it in a process of its own; print its digest."""
    mini = Mini(Path(workspace), process=json.loads(process))
    for name in mini.build():
        done = materialize(mini.experiment(), name)
        if name == asset:
            sys.stdout.write(done.manifest.digest)
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
