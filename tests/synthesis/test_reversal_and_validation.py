"""What a teacher's code may do, which reversed pairs survive, and how answers are read."""

import random

import pytest
from chat_server import ChatServer
from hypothesis import given
from hypothesis import strategies as st
from stage_runner import Runner

from factory.records import new_record
from factory.schemas import PROBLEM
from factory.synthesis.answers import (
    InvalidAnswerError,
    read_cloze,
    read_critique,
    read_discussion,
    read_problem_rewrite,
    read_question_and_answer,
    script,
    usable_text,
)
from factory.synthesis.config import BenchmarksConfig, QuestionBankConfig, SyntheticConfig
from factory.synthesis.functions import PURE_FUNCTIONS, draw_inputs, find_functions, installed_source, reference_outcomes
from factory.synthesis.problems import FAMILIES, program_source
from factory.synthesis.procedural_code import code_from_instruction, code_instruction
from factory.synthesis.reversal import without_fence
from factory.synthesis.teacher import TeacherAnswer
from factory.synthesis.validate import RefusedCodeError, check_function, run_function


@pytest.mark.parametrize(
    "body",
    [
        "import os",
        "return open('/etc/passwd').read()",
        "return s.__class__",
        "return s.format(s)",
        "return f'{s}'",
        "return eval(s)",
        "return 9 ** 9",
        "return 1 << 99",
        "return (lambda: s)()",
        "global s",
        "return getattr(s, 'x')",
        "def inner(): pass",
        "yield s",
        "with s: pass",
        "return __builtins__",
    ],
)
def test_code_outside_the_subset_is_refused_before_it_runs(body: str) -> None:
    with pytest.raises(RefusedCodeError):
        check_function(f"def f(s):\n    {body}", "f")


@pytest.mark.parametrize(
    "source", ["x = 1", "def g(s):\n    return s", "def f(s):\n    return s\nprint(1)", "def f(", "@list\ndef f(s):\n    pass"]
)
def test_anything_but_the_one_function_asked_for_is_refused(source: str) -> None:
    with pytest.raises(RefusedCodeError):
        check_function(source, "f")


def test_a_function_runs_and_its_failures_are_outcomes() -> None:
    outcome = run_function("def f(a, b):\n    return a[b]", "f", [([1, 2], 1), ([1], 5), ("ab", 0)])
    assert outcome.results == ("2", "raises IndexError", "'a'")


def test_endless_loops_and_endless_memory_end() -> None:
    assert run_function("def f(a):\n    while True:\n        pass", "f", [(1,)]).error
    assert run_function("def f(a):\n    while True:\n        a = a + a", "f", [("x",)]).results == ("raises MemoryError",)


@pytest.mark.parametrize("name", sorted(PURE_FUNCTIONS))
def test_allow_listed_functions_are_pure_on_their_inputs_and_have_a_source(name: str) -> None:
    inputs = draw_inputs(name, random.Random(1), 24)
    assert reference_outcomes(name, inputs) == reference_outcomes(name, inputs)
    assert len(set(reference_outcomes(name, inputs))) > 1, "inputs on which a function never varies would pass anything"
    assert installed_source(name).startswith(f"def {name.rpartition('.')[2]}(")


def test_functions_are_found_only_in_their_own_words(passages) -> None:
    code = next(row for row in passages if row["locator"] == "calendar.py")
    assert [found.name for found in find_functions(code)] == ["calendar.isleap", "calendar.leapdays"]
    changed = code | {"text": code["text"].replace("year % 4", "year % 5")}
    assert [found.name for found in find_functions(changed)] == ["calendar.leapdays"]
    assert list(find_functions(code | {"locator": "other.py"})) == []


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_the_procedural_teacher_compiles_back_what_it_described(seed: int, steps: int) -> None:
    code = program_source(FAMILIES["code"](random.Random(seed), steps))
    said = code_instruction(code, random.Random(seed))
    assert "=" not in said
    assert code_from_instruction(said) == code


def test_the_procedural_teacher_has_nothing_to_say_to_what_it_does_not_know() -> None:
    assert code_instruction("while x:\n    pass", random.Random(0)) == ""
    assert code_from_instruction("Write me a poem: roses are red.") == ""


def test_a_model_s_unfaithful_or_forbidden_code_is_dropped_and_counted(seeded: Runner) -> None:
    """An endpoint whose instructions are fine, and whose code is right, wrong, forbidden or missing by turns."""

    def reply(text: str) -> str:
        if text.startswith("Here is Python code"):
            code = text.split("\n\n")[1]
            return f"Write the function number {len(code)}." if "isleap" in code else "Write a function."
        if "number" in text:
            return "```python\ndef isleap(year):\n    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)\n```"
        return "import os"

    seeded("benchmarks", "factory.synthesis.benchmarks:run", BenchmarksConfig(problems=5))
    seeded("question_bank", "factory.synthesis.questions:run", QuestionBankConfig(problems=30), "benchmarks")
    section = SyntheticConfig.model_validate(
        {
            "exercises": 1,
            "questions_and_answers": 1,
            "annotated_programs": 1,
            "worksheets": 0,
            "program_reversals": 2,
            "teacher": {"kind": "openai", "model": "m"},
        }
    )
    with ChatServer(reply) as server:
        settings = {"base_url": server.url, "price_per_million_input": 0, "price_per_million_output": 0}
        stage = "factory.synthesis.documents:run"
        finished = seeded("synthetic_documents", stage, section, "seed_passages", "question_bank", teacher=settings)
    kept = [row for row in finished.records("documents") if row["kind"] == "instruction"]
    assert ["def isleap(year):" in row["text"] for row in kept] == [True]
    assert "m code-from-instruction@1 code-instruction@1" in kept[0]["created_by"]
    assert finished.result.counts.dropped == {"reversal: code refused": 6}
    assert finished.result.cost.teacher_requests == 9, "equal instructions are asked once"


def test_questions_without_an_answer_take_the_plurality_s(seeded: Runner) -> None:
    """All alike is too easy, all apart too hard; otherwise the most frequent answer is taken."""
    answers = {"easy": [7, 7, 7, 7, 7], "hard": [1, 2, 3, 4, 5], "good": [9, 8, 9, 9, 2]}
    given_so_far: dict[str, int] = dict.fromkeys(answers, 0)

    def reply(text: str) -> str:
        question = text.split(maxsplit=1)[0]
        given_so_far[question] += 1
        return f"Answer: {answers[question][given_so_far[question] - 1]}"

    columns = {"family": "reasoning", "answer": "", "steps": [], "solution": ""}
    rows = [new_record(source="forum", locator=q, text=f"{q} question?", kind="question", created_by="t@1", **columns) for q in answers]
    seeded.provide("questions/forum", "questions", rows, PROBLEM)
    seeded("benchmarks", "factory.synthesis.benchmarks:run", BenchmarksConfig(problems=5))
    section = QuestionBankConfig.model_validate({"problems": 10, "teacher": {"kind": "openai", "model": "m"}})
    with ChatServer(reply) as server:
        settings = {"base_url": server.url, "price_per_million_input": 0, "price_per_million_output": 0, "max_concurrency": 1}
        finished = seeded("question_bank", "factory.synthesis.questions:run", section, "benchmarks", "questions/forum", teacher=settings)
    (own,) = (row for row in finished.records("questions") if row["source"] == "forum")
    assert (own["id"], own["text"], own["answer"]) == (rows[2]["id"], "good question?", "9")
    assert own["created_by"] == "questions.plurality@1 m answer-question@1"
    assert finished.result.counts.dropped["no informative plurality"] == 2
    assert finished.result.metrics["oracles"]["plurality"] == 2
    assert finished.result.cost.teacher_requests == 15


PASSAGE = "The quick brown fox jumps over the lazy dog. It then sleeps."


@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (read_question_and_answer, "What is it?", "missing field"),
        (lambda text: read_cloze(text, PASSAGE), "Text: The quick ____ fox jumps\nMissing: red", "not grounded"),
        (lambda text: read_cloze(text, PASSAGE), "Text: The quick brown fox\nMissing: red", "no single gap"),
        (lambda text: read_cloze(text, PASSAGE), "Text: The ____ dog.\nMissing: quick brown fox jumps over the lazy", "no single gap"),
        (read_discussion, "Ann: Hello there.\nAnn: Yes.\nAnn: No.", "not a discussion"),
        (read_critique, "Score: 9\nSuggestion: none", "no score"),
        (lambda text: read_problem_rewrite(text, "2 + 2?", "4"), "Ann: 2 + 3?\nAnswer: 4", "question changed"),
        (lambda text: read_problem_rewrite(text, "2 + 2?", "4"), "Ann: 2 + 2?\nAnswer: 5", "answer changed"),
        (lambda text: usable_text(TeacherAnswer(text, "m"), PASSAGE), "  ", "empty"),
        (lambda text: usable_text(TeacherAnswer(text, "m"), PASSAGE), "Ответ на вопрос", "other script"),
        (lambda text: usable_text(TeacherAnswer(text, "m"), PASSAGE), "long " * 2000, "too long"),
        (lambda text: usable_text(TeacherAnswer(text, "m", complete=False), PASSAGE), "half a sen", "cut short"),
    ],
)
def test_an_answer_that_breaks_its_form_is_dropped_with_its_reason(read, text: str, reason: str) -> None:
    with pytest.raises(InvalidAnswerError, match=reason):
        read(text)


def test_a_sound_cloze_fills_back_into_its_passage() -> None:
    cloze = read_cloze("Text: The quick ____ fox jumps over\nMissing: brown", PASSAGE)
    assert cloze.filled() == "The quick brown fox jumps over"


def test_scripts_and_fences_are_recognised() -> None:
    assert (script("straße 12"), script("привет"), script("漢字です"), script("12 + 3")) == ("LATIN", "CYRILLIC", "CJK", "")
    assert without_fence("```python\nx = 1\n```") == without_fence("x = 1\n") == "x = 1"
