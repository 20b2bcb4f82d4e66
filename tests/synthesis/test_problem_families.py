"""Every family's answer is recomputed by other means than the generator's: from the words of the question alone."""

import random
import re
import subprocess
import sys
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.errors import SeedmillError
from factory.preference.oracles import answer_is_correct
from factory.schemas import PROBLEM
from factory.synthesis.formats import exercise, native_prompt, worksheet
from factory.synthesis.problems import (
    FAMILIES,
    STYLES,
    annotate,
    draw_problems,
    problem_of,
    problem_record,
    program_source,
    read_solution,
    write_solution,
)
from factory.synthesis.validate import run_program

seeds = st.integers(0, 2**32)
steps = st.integers(1, 4)


def story_answer(question: str) -> int:
    """Read the sentences of a word problem as a person would."""
    sentences = re.split(r"(?<=[.?]) ", question)
    value = int(re.search(r"\d+", sentences[0])[0])
    for sentence in sentences[1:-1]:
        number = re.search(r"\d+", sentence)
        if number is None:
            value *= 2
        elif re.search(r"loses|gives away|sells|stolen", sentence):
            value -= int(number[0])
        else:
            value += int(number[0])
    return value


def list_answer(question: str) -> int:
    sentences = question.split(". ")
    items = [int(digit) for digit in re.findall(r"\d", sentences[0])]
    for sentence in sentences[1:-1]:
        if sentence.startswith("Append"):
            items.append(int(sentence.split()[1]))
        else:
            operation = {
                "Reverse it": items.reverse,
                "Sort it": items.sort,
                "Drop the first": lambda: items.pop(0),
                "Drop the last": items.pop,
            }
            operation[sentence]()
    pick = {"first": lambda: items[0], "last": lambda: items[-1], "largest": lambda: max(items), "smallest": lambda: min(items)}
    which = re.search(r"the (\w+) (?:item|number)", sentences[-1])[1]
    return items[1] if which == "second" else pick[which]()


@settings(max_examples=200, deadline=None)
@given(seeds, steps)
def test_a_story_s_answer_follows_from_its_sentences(seed: int, count: int) -> None:
    problem = FAMILIES["story"](random.Random(seed), count)
    assert story_answer(problem.question) == int(problem.answer)


@settings(max_examples=200, deadline=None)
@given(seeds, steps)
def test_a_list_s_answer_follows_from_its_operations(seed: int, count: int) -> None:
    problem = FAMILIES["list"](random.Random(seed), count)
    assert list_answer(problem.question) == int(problem.answer)


def test_programs_print_their_answers_in_a_python_of_their_own() -> None:
    problems = [FAMILIES["code"](random.Random(seed), 1 + seed % 4) for seed in range(100)]
    script = "\n".join(program_source(problem) for problem in problems)
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert printed == [problem.answer for problem in problems]


@settings(max_examples=200, deadline=None)
@given(seeds, steps, st.sampled_from(sorted(FAMILIES)), st.sampled_from(STYLES))
def test_every_style_reads_back_as_what_was_written(seed: int, count: int, family: str, style: str) -> None:
    problem = FAMILIES[family](random.Random(seed), count)
    text = write_solution(problem, style)
    read_style, values, answer = read_solution(text)
    assert (read_style, answer) == (style, problem.answer)
    assert values == (() if style == "direct" else tuple(step.value for step in problem.steps))
    assert answer_is_correct(text, problem.answer)


@settings(max_examples=100, deadline=None)
@given(seeds, steps, st.sampled_from(sorted(FAMILIES)))
def test_numbers_stay_within_0_to_40_and_equations_hold(seed: int, count: int, family: str) -> None:
    problem = FAMILIES[family](random.Random(seed), count)
    assert len(problem.steps) == count
    assert all(0 <= int(number) <= 40 for step in problem.steps for number in step.value.split())
    for step in problem.steps:
        if step.expression:
            assert eval(step.expression, {"__builtins__": {}}) == int(step.value)


@settings(max_examples=50, deadline=None)
@given(seeds, steps, st.sampled_from(sorted(FAMILIES)))
def test_a_problem_survives_its_record(seed: int, count: int, family: str) -> None:
    problem = FAMILIES[family](random.Random(seed), count)
    record = problem_record(problem, locator="l", kind="question", created_by="t@1")
    assert problem_of(record) == problem
    assert set(record) == set(PROBLEM.names)


def test_drawing_is_deterministic_and_covers_families_and_step_counts() -> None:
    first, second = (list(islice(draw_problems(random.Random(5), (1, 1, 1, 1)), 300)) for _ in range(2))
    assert first == second
    assert {(p.family, len(p.steps)) for p in first} == {(f, n) for f in FAMILIES for n in (1, 2, 3, 4)}


def test_an_annotated_program_still_prints_its_answer_and_says_each_value() -> None:
    problem = FAMILIES["code"](random.Random(11), 4)
    annotated = annotate(problem)
    assert run_program(annotated) == problem.answer
    comments = [line.split("  # ")[1] for line in annotated.split("\n") if "#" in line]
    assert comments == [*(step.equation() for step in problem.steps), problem.answer]


def test_the_native_prompt_is_the_head_of_an_exercise() -> None:
    assert exercise("How many?", "Answer: 3") == native_prompt("How many?") + " Answer: 3"


def test_a_worksheet_s_key_answers_every_problem_in_order() -> None:
    problems = list(islice(draw_problems(random.Random(2), (1, 1)), 12))
    key = worksheet(7, problems).rsplit("Key\n", 1)[1].split("\n")
    assert [line.split(": ")[1] for line in key] == [p.answer for p in problems]


@pytest.mark.parametrize(
    "source",
    [
        "import os\nprint(x)",
        "x = 2\nwhile x:\n    x = x + 1\nprint(x)",
        "x = 9\nx = x * x\nprint(x)",
        "print = 3",
        "x = 99999\nprint(x)",
        "x = (1).__class__\nprint(x)",
        "x = 'a'\nprint(x)",
        "exit(1)",
        "x =",
    ],
)
def test_anything_but_a_straight_line_program_is_refused(source: str) -> None:
    with pytest.raises(SeedmillError, match="refused to run"):
        run_program(source)
