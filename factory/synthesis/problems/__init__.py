"""Families of problems with known answers, and how to draw them."""

import random
from collections.abc import Callable, Iterator, Sequence

from factory.synthesis.problems.listing import draw_listing
from factory.synthesis.problems.problem import STYLES, Problem, Step, Style, problem_of, problem_record, read_solution, write_solution
from factory.synthesis.problems.program import annotate, draw_program, program_source
from factory.synthesis.problems.story import draw_story

__all__ = [
    "FAMILIES",
    "STYLES",
    "TRANSFORM",
    "Problem",
    "Step",
    "Style",
    "annotate",
    "draw_problems",
    "problem_of",
    "problem_record",
    "program_source",
    "read_solution",
    "write_solution",
]

TRANSFORM = "problems@1"
FAMILIES: dict[str, Callable[[random.Random, int], Problem]] = {"story": draw_story, "code": draw_program, "list": draw_listing}


def draw_problems(random: random.Random, step_weights: Sequence[float]) -> Iterator[Problem]:
    """Problems without end: a family at random, then 1, 2, 3 ... steps by weight."""
    families = list(FAMILIES.values())
    counts = range(1, len(step_weights) + 1)
    while True:
        draw = random.choice(families)
        yield draw(random, random.choices(counts, step_weights)[0])
