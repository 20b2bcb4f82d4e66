"""The benchmarks: held-out problems that are never trained on. Everything downstream is kept disjoint from them."""

import random
from collections.abc import Iterator
from itertools import islice

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record
from factory.schemas import PROBLEM
from factory.synthesis.config import BenchmarksConfig
from factory.synthesis.problems import TRANSFORM, draw_problems, problem_record

DRAWS_A_PROBLEM = 50


def run(context: Context) -> None:
    """Write `problems`: distinct questions from the section's own seed, the same for every experiment with this section."""
    section = context.section(BenchmarksConfig)
    context.seeds["benchmarks"] = section.seed
    context.write_records("problems", _problems(context, section), PROBLEM)


def _problems(context: Context, section: BenchmarksConfig) -> Iterator[Record]:
    weights = [float(section.min_steps <= steps <= section.max_steps) for steps in range(1, section.max_steps + 1)]
    seen: set[str] = set()
    for problem in islice(draw_problems(random.Random(section.seed), weights), DRAWS_A_PROBLEM * section.problems):
        if problem.question in seen:
            context.drop("duplicate")
            continue
        context.keep()
        seen.add(problem.question)
        yield problem_record(problem, locator=f"benchmark/{len(seen):06d}", kind="benchmark", created_by=TRANSFORM)
        if len(seen) == section.problems:
            return
    raise SeedmillError(f"benchmarks.problems is {section.problems}, but there are only {len(seen)} distinct ones; ask for fewer")
