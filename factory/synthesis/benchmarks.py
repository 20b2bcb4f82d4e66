"""The benchmarks: drawn problems, and what sources of questions hold out. Everything downstream is kept disjoint from them."""

import random
from collections.abc import Iterator
from itertools import islice

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record, folded
from factory.schemas import PROBLEM
from factory.synthesis.config import BenchmarksConfig
from factory.synthesis.problems import TRANSFORM, draw_problems, problem_record
from factory.synthesis.question_sources import BENCHMARK

DRAWS_A_PROBLEM = 50


def run(context: Context) -> None:
    """Write `problems`: those of the sources, then drawn ones from the section's own seed, the same for every experiment with it."""
    section = context.section(BenchmarksConfig)
    context.seeds["benchmarks"] = section.seed
    context.write_records("problems", _problems(context, section), PROBLEM)


def _problems(context: Context, section: BenchmarksConfig) -> Iterator[Record]:
    seen: set[str] = set()
    for name in sorted(context.inputs):
        for row in context.inputs[name].records("questions"):
            if row["kind"] == BENCHMARK and _is_new(context, row["text"], seen):
                yield row
    yield from _drawn(context, section, seen)


def _is_new(context: Context, question: str, seen: set[str]) -> bool:
    if (key := folded(question)) in seen:
        context.drop("duplicate")
        return False
    context.keep()
    seen.add(key)
    return True


def _drawn(context: Context, section: BenchmarksConfig, seen: set[str]) -> Iterator[Record]:
    weights = [float(section.min_steps <= steps <= section.max_steps) for steps in range(1, section.max_steps + 1)]
    number = 0
    for problem in islice(draw_problems(random.Random(section.seed), weights), DRAWS_A_PROBLEM * section.problems):
        if _is_new(context, problem.question, seen):
            number += 1
            yield problem_record(problem, locator=f"benchmark/{number:06d}", kind=BENCHMARK, created_by=TRANSFORM)
            if number == section.problems:
                return
    raise SeedmillError(f"benchmarks.problems is {section.problems}, but there are only {number} distinct ones; ask for fewer")
