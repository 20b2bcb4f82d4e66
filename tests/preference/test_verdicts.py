"""Verdicts of a search on questions that rules, running code or a language model grade: each answer once, and never again after a kill."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from stage_bench import Bench, ScriptedModel, digests, question, rows

from factory.context import Context
from factory.preference import checker, group, pivotal, rejection
from factory.preference.grading import Submission, by_oracles
from factory.preference.questions import Examiner
from factory.preference.verdicts import Verdicts
from factory.sampling.api import Completion, SampleRequest
from factory.synthesis.teacher import open_teacher

sys.path.append(str(Path(__file__).parents[1] / "synthesis"))
from chat_server import ChatServer

INPUTS = ("sft_checkpoint", "question_bank", "refusals", "benchmarks")
SECTION = {"questions": 9, "filter_samples": 20, "samples": 20, "most_samples": 20, "max_new_tokens": 60, "figure_samples": 10}
CHECKER = {"kind": "openai", "model": "checker-model"}
FREE = {"price_per_million_input": 1.0, "price_per_million_output": 1.0, "max_retries": 0, "api_key_env": "TEST_TEACHER_KEY"}
TESTS = json.dumps({"function": "double", "inputs": [[1], "(4,)"], "outputs": [2, 8]})
CHOICE = question("Which one is blue?\nA) grass\nB) the sky", "B) the sky", "multiple choice")
CODE = question("Write a Python function `double`.", TESTS, "python")
CAPITAL = question("Where is the Louvre?", "Paris", "general")
SCRIPT = {
    CHOICE["text"]: {"It is so. Answer: B": 0.3, "It is so. Answer: the sky": 0.2, "No. Answer: A": 0.5},
    CODE["text"]: {"def double(x):\n    return x + x": 0.5, "def double(x):\n    return x": 0.3, "def double(y): ...": 0.2},
    CAPITAL["text"]: {"Of course. Answer: the City of Light": 0.5, "Hm. Answer: Lyon": 0.5},
}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    bench.put("question_bank", "questions", [CHOICE, CODE, CAPITAL])
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("refusals", "pairs", [])
    bench.give("sft_checkpoint").mkdir(parents=True)
    for module in (group, rejection):
        monkeypatch.setattr(module, "open_sampler", lambda *_: ScriptedModel(SCRIPT, bench.tokenizer))
    return bench


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A checker that knows the City of Light."""

    def reply(prompt: str) -> str:
        case = json.loads(next(line for line in prompt.split("\n") if line.startswith('{"question"')))
        return json.dumps({"matches_key": "True" if "Light" in case["submission"] else "False"})

    with ChatServer(reply) as server:
        yield server


def asking(bench: Bench, server: ChatServer, context: Context) -> Context:
    context.spec.runtime.update(teacher={"base_url": server.url, **FREE}, cache=str(bench.folder / "cache"))
    return context


def domains(context: Context) -> set[str]:
    return {pair["domain"] for pair in rows(context, "pairs")}


def test_a_search_finds_pivots_where_rules_and_running_code_decide(bench: Bench) -> None:
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    assert domains(context) == {"multiple choice", "python"}
    assert context.result().counts.dropped == {"too hard": 1}, "no rule knows the City of Light"
    assert context.result().cost.teacher_requests == 0


def test_a_checker_opens_questions_that_no_rule_can_grade_and_its_money_is_counted(bench: Bench, server: ChatServer) -> None:
    context = asking(bench, server, bench.context("pivotal_pairs", INPUTS, checker=CHECKER, **SECTION))
    pivotal.run(context)
    assert domains(context) == {"multiple choice", "python", "general"}
    cost = context.result().cost
    assert cost.teacher_requests == len(server.asked) == 3, "City of Light, Lyon, and A: each once, and code never"
    assert cost.money > 0
    assert context.metrics["checker"]["true"] == 1
    assert context.metrics["teacher"] == "checker-model"


@pytest.mark.parametrize(("module", "killed_in", "together"), [(pivotal, "write", 1), (group, "verify", 9)])
def test_what_was_paid_before_a_kill_is_in_the_manifest_after_it(
    bench: Bench, server: ChatServer, monkeypatch: Any, module: Any, killed_in: str, together: int
) -> None:
    section = {**SECTION, "checker": CHECKER, "questions_together": together}
    whole = asking(bench, server, bench.context("pivotal_pairs", INPUTS, attempt="whole", **section))
    pivotal.run(whole)
    (bench.folder / "cache" / "teacher.sqlite").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(module, killed_in, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pivotal.run(asking(bench, server, bench.context("pivotal_pairs", INPUTS, attempt="killed", **section)))
    asked = len(server.asked)
    resumed = asking(bench, server, bench.context("pivotal_pairs", INPUTS, attempt="resumed", previous=["killed"], **section))
    pivotal.run(resumed)
    assert digests(resumed) == digests(whole)
    assert len(server.asked) == asked
    assert resumed.result().cost.money == pytest.approx(whole.result().cost.money)
    assert resumed.metrics["checker"] == whole.metrics["checker"]


def test_one_client_asks_for_all_groups_and_what_was_said_is_counted_once(bench: Bench, server: ChatServer, monkeypatch: Any) -> None:
    opened: list[object] = []
    monkeypatch.setattr(checker, "open_teacher", lambda *of: opened.append(of) or open_teacher(*of))
    found = []
    for together in (1, 9):
        section = {**SECTION, "checker": CHECKER, "questions_together": together}
        context = asking(bench, server, bench.context("pivotal_pairs", INPUTS, attempt=str(together), **section))
        pivotal.run(context)
        found.append(context.metrics["checker"])
    assert len(opened) == 2, "one for each stage, not for each of its groups"
    assert found[0]["true"] == found[1]["true"] == 1


def test_rejection_sampling_calls_success_what_the_search_calls_it(bench: Bench, server: ChatServer) -> None:
    bench.give("pivotal_pairs").mkdir(parents=True)
    (bench.give("pivotal_pairs") / "pivots.json").write_text('{"decode_tokens": 100000}')
    inputs = ("sft_checkpoint", "question_bank", "pivotal_pairs", "benchmarks")
    section = {"questions": 9, "filter_samples": 20, "max_new_tokens": 60}
    plain = bench.context("rejection_pairs", inputs, attempt="plain", **section)
    rejection.run(plain)
    checked = asking(bench, server, bench.context("rejection_pairs", inputs, checker=CHECKER, **section))
    rejection.run(checked)
    assert domains(checked) - domains(plain) == {"general"}


class Counting:
    """A grader that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[Submission]] = []

    def __call__(self, submissions: Sequence[Submission]) -> list[bool]:
        self.asked.append(list(submissions))
        return by_oracles(submissions)


def draw(bench: Bench, texts: list[str]) -> Any:
    tokens = [tuple(bench.tokenizer.encode(text)) for text in texts]
    return lambda requests: [[Completion(own, (0.0,) * len(own), stopped=True) for own in tokens] for _ in requests]


def test_a_round_is_graded_in_one_batch_each_answer_once_and_from_its_part_after_a_kill(bench: Bench) -> None:
    examiner, context = Examiner(bench.tokenizer), bench.context("pivotal_pairs", INPUTS)
    for attempt in (1, 2):
        grader = Counting()
        verdicts = Verdicts(examiner, grader, context, "x", longest=60)
        grades = [verdicts.of(one) for one in (CHOICE, CAPITAL)]
        prompts = [examiner.prompt(one["text"]) for one in (CHOICE, CAPITAL)]
        drawn = verdicts.watching(draw(bench, ["Answer: B", "Answer: B", "Answer: Paris"]))
        drawn([SampleRequest(prompt, 3) for prompt in prompts])
        drawn([SampleRequest((*prompts[0], *bench.tokenizer.encode("So. ")), 3)])
        assert [len(asked) for asked in grader.asked] == ([4, 2] if attempt == 1 else [])
        assert [grade(tuple(bench.tokenizer.encode("Answer: B"))) for grade in grades] == [True, False]
        assert grades[0](tuple(bench.tokenizer.encode("So. Answer: B")))
        assert sum(map(len, grader.asked)) == (6 if attempt == 1 else 0)


def test_a_part_of_other_answers_is_not_believed(bench: Bench) -> None:
    examiner, context = Examiner(bench.tokenizer), bench.context("pivotal_pairs", INPUTS)
    for texts in (["Answer: A"], ["Answer: B"]):
        verdicts = Verdicts(examiner, by_oracles, context, "x", longest=60)
        grade = verdicts.of(CHOICE)
        verdicts.watching(draw(bench, texts))([SampleRequest(examiner.prompt(CHOICE["text"]), 1)])
        assert grade(tuple(bench.tokenizer.encode(texts[0]))) is (texts == ["Answer: B"])


def test_an_answer_is_graded_where_it_would_have_been_cut(bench: Bench) -> None:
    grader = Counting()
    verdicts = Verdicts(Examiner(bench.tokenizer), grader, bench.context("pivotal_pairs", INPUTS), "", longest=9)
    grade = verdicts.of(CHOICE)
    verdicts.watching(draw(bench, ["Answer: B and C"]))([SampleRequest(Examiner(bench.tokenizer).prompt(CHOICE["text"]), 1)])
    assert [one.text for one in grader.asked[0]] == ["Answer: B"]
    assert grade(tuple(bench.tokenizer.encode("Answer: B and C")))


def test_code_is_run_side_by_side_and_the_same_code_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from factory.preference import grading

    ran: list[str] = []

    def counted(text: str, key: str) -> bool:
        ran.append(text)
        return "x + x" in text

    monkeypatch.setattr(grading, "answer_is_correct", counted)
    texts = ["def double(x): return x + x", "def double(x): return x", "def double(x): return x + x"]
    assert by_oracles([Submission("q", text, TESTS) for text in texts]) == [True, False, True]
    assert sorted(ran) == sorted(set(texts))
