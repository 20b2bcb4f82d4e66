"""Program tracing: straight-line Python on x and y. The answer is what a real run of the program prints."""

import random

from factory.errors import SeedmillError
from factory.synthesis.problems.problem import LARGEST_VALUE, Problem, Step
from factory.synthesis.validate import run_program

TASKS = ("What does this program print?\n", "Trace the code and give the output.\n", "Find the printed value.\n")


def draw_program(random: random.Random, steps: int) -> Problem:
    """A tracing problem of `steps` assignments after the two that set x and y."""
    values = {"x": random.randint(2, 15), "y": random.randint(2, 9)}
    start = f"x = {values['x']}, y = {values['y']}"
    lines = [f"{name} = {value}" for name, value in values.items()]
    done: list[Step] = []
    for _ in range(steps):
        line, step = _draw_assignment(random, values)
        values[step.name] = int(step.value)
        lines.append(line)
        done.append(step)
    printed = random.choice([done[-1].name, done[-1].name, "x", "y"])
    source = "\n".join([*lines, f"print({printed})"])
    answer = run_program(source)
    if answer != str(values[printed]):
        raise SeedmillError(f"a program printed {answer!r} where its trace says {values[printed]}; do not use this Python:\n{source}")
    return Problem("code", random.choice(TASKS) + source, start, tuple(done), answer)


def program_source(problem: Problem) -> str:
    """The program of a tracing problem, without the task's sentence."""
    return problem.question.split("\n", 1)[1]


def annotate(problem: Problem) -> str:
    """The program with its traced values as comments, checked line by line against the steps."""
    lines = program_source(problem).split("\n")
    body = [f"{line}  # {step.equation()}" for line, step in zip(lines[2:-1], problem.steps, strict=True)]
    return "\n".join([*lines[:2], *body, f"{lines[-1]}  # {problem.answer}"])


def _draw_assignment(random: random.Random, values: dict[str, int]) -> tuple[str, Step]:
    """A line that keeps its variable within 0 to 40, and the step it makes."""
    x, y = values["x"], values["y"]
    while True:
        name, amount = random.choice("xxy"), random.randint(2, 9)
        old = values[name]
        formula, expression, value = random.choice(
            (
                (f"{name} + {amount}", f"{old} + {amount}", old + amount),
                (f"{name} - {amount}", f"{old} - {amount}", old - amount),
                ("x + y", f"{x} + {y}", x + y),
                (f"{name} * 2", f"{old} * 2", old * 2),
                ("x - y", f"{x} - {y}", x - y),
            )
        )
        if 0 <= value <= LARGEST_VALUE:
            return f"{name} = {formula}", Step(name, expression, str(value))
