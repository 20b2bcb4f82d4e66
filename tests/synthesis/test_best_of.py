"""Best-of-n answers to questions of one's own: only right ones, the judge's favourite, everything else counted."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from chat_server import ChatServer
from stage_runner import Runner

from factory.records import Record, new_record
from factory.schemas import CONVERSATION, PROBLEM
from factory.synthesis.config import ConversationConfig, SynthesisConfig, TeacherIdentity
from factory.synthesis.documents import SCHEMA
from factory.synthesis.problems.problem import Problem, Step, problem_record

FREE = {
    "price_per_million_input": 0.0,
    "price_per_million_output": 0.0,
    "max_retries": 0,
    "max_concurrency": 1,
    "api_key_env": "TEST_TEACHER_KEY",
}
CHECKER = TeacherIdentity(kind="openai", model="c")
INPUTS = ("question_bank", "synthetic_documents", "refusals", "benchmarks")
SOLVED = problem_record(
    Problem("story", "Ann has 5 and gets 3. How many?", "5", (Step("gain", "5 + 3", "8"),), "8"),
    locator="1", kind="question", created_by="test@1",
)  # fmt: skip


def organic(text: str, answer: str, language: str = "en") -> Record:
    return new_record(
        source="forum", locator=text, text=text, kind="question", created_by="test@1", license="CC0", language=language,
        family="general", answer=answer, steps=[], solution="",
    )  # fmt: skip


def section(**settings: Any) -> ConversationConfig:
    teacher = TeacherIdentity(kind="openai", model="m")
    return ConversationConfig(conversations=3, identity_share=0, harmless_share=0, teacher=teacher, **settings)


@pytest.fixture
def provided(stage: Runner) -> Runner:
    questions = [SOLVED, organic("Wie viel ist 2 mal 3?", "6", "de"), organic("What is 7 + 1?", "8"), organic("Who knows?", "42")]
    stage.provide("question_bank", "questions", questions, PROBLEM)
    stage.provide("synthetic_documents", "documents", [], SCHEMA)
    stage.provide("refusals", "conversations", [], CONVERSATION, questions=([], PROBLEM))
    stage.provide("benchmarks", "problems", [organic("Held out?", "1")], PROBLEM)
    return stage


class Writer:
    """Answers the same question differently each time; as a judge it prefers the answer with the word `because`.

    That one never comes first: a stage that asks a judge and then takes the first answer all the same would be found out.
    """

    def __init__(self, verdict: str | None = None) -> None:
        self.verdict, self.asked = verdict, 0

    def __call__(self, prompt: str) -> str:
        if "Judge the answers" in prompt:
            return self.verdict if self.verdict is not None else self.judge(prompt)
        self.asked += 1
        answer = "6" if "2 mal 3" in prompt else "8" if "7 + 1" in prompt else "7"
        return (f"It is so because it is.\nAnswer: {answer}", f"Answer: {answer}", "Because.\nAnswer: 1000")[self.asked % 3]

    @staticmethod
    def judge(prompt: str) -> str:
        case = json.loads(next(line for line in prompt.split("\n") if line.startswith('{"question"')))
        scores = [5 if "because" in answer else 2 for answer in case["answers"]]
        assert not any("1000" in answer for answer in case["answers"]), "wrong answers are not judged"
        faults = [["none"]] * len(scores)
        return json.dumps({"faults": faults, "faults_discussion": "", "accuracy": scores, "style": scores, "detail": scores})


def run(runner: Runner, writer: Callable[[str], str], settings: ConversationConfig) -> Any:
    with ChatServer(writer) as server:
        run = "factory.synthesis.conversations:run"
        return runner("sft_conversations", run, settings, *INPUTS, teacher={"base_url": server.url, **FREE})


def test_each_question_of_one_s_own_gets_the_best_of_its_right_answers(provided: Runner) -> None:
    finished = run(provided, Writer(), section(best_of=6))
    told = {row["messages"][0]["content"]: row for row in finished.records("conversations") if "m answer-question@1" in row["created_by"]}
    assert told.keys() == {"Wie viel ist 2 mal 3?", "What is 7 + 1?"}
    assert told["What is 7 + 1?"]["messages"][1]["content"] == "It is so because it is.\nAnswer: 8"
    assert told["Wie viel ist 2 mal 3?"]["language"] == "de"
    assert finished.result.counts.dropped == {"no right answer": 1}
    assert finished.result.metrics["languages"] == {"en": 4, "de": 1}
    assert finished.result.cost.teacher_requests == 3 * 6 + 2


def test_a_judge_that_says_nothing_usable_leaves_the_first_right_answer(provided: Runner) -> None:
    finished = run(provided, Writer("no JSON"), section(best_of=6))
    told = [row["messages"][1]["content"] for row in finished.records("conversations") if "m answer-question@1" in row["created_by"]]
    assert sorted(told) == ["Answer: 6", "Answer: 8"]


def test_an_answer_in_other_words_is_right_where_the_checker_is_asked(provided: Runner) -> None:
    provided.provide("question_bank", "questions", [SOLVED, organic("What is the capital of France?", "Paris")], PROBLEM)

    def writer(prompt: str) -> str:
        if "Do not solve" in prompt:
            return '{"matches_key": "True"}' if "City of Light" in prompt else '{"matches_key": "False"}'
        return "Answer: the City of Light"

    without, asked = (run(provided, writer, section(best_of=2, checker=checker)) for checker in (None, CHECKER))
    assert without.result.counts.dropped == {"no right answer": 1}
    assert "checker" not in without.result.metrics
    told = [row["messages"][1]["content"] for row in asked.records("conversations") if row["source"] == "forum"]
    assert told == ["Answer: the City of Light"]
    assert asked.result.metrics["checker"] == {"true": 1}


def test_a_section_without_the_checker_keeps_its_identity() -> None:
    assert "checker" not in section().model_dump(mode="json")
    assert section(checker=CHECKER).model_dump(mode="json")["checker"] == {"kind": "openai", "model": "c"}


def test_a_program_is_no_checker() -> None:
    with pytest.raises(ValueError, match="name a language model"):
        section(checker=TeacherIdentity())


def test_the_program_answers_no_question_of_one_s_own(provided: Runner) -> None:
    settings = ConversationConfig(conversations=3, identity_share=0, harmless_share=0)
    finished = provided("sft_conversations", "factory.synthesis.conversations:run", settings, *INPUTS)
    assert not any(row["source"] == "forum" for row in finished.records("conversations"))


def test_the_recipe_s_teacher_answers_unless_another_is_named() -> None:
    teacher = {"kind": "openai", "model": "big", "price_per_million_input": 1, "price_per_million_output": 1}
    assert SynthesisConfig.model_validate({"teacher": teacher}).sft_conversations.teacher.model == "big"
