"""The stages one after the other at a small size, on real passages, with the procedural teacher."""

import random
from itertools import cycle, islice

import pytest
from stage_runner import Runner

from factory.errors import SeedmillError
from factory.preference.oracles import answer_is_correct
from factory.synthesis.config import (
    BenchmarksConfig,
    ConversationConfig,
    QuestionBankConfig,
    RewriteConfig,
    SyntheticConfig,
)
from factory.synthesis.formats import read_instructed_code
from factory.synthesis.problems import draw_problems, read_solution
from factory.synthesis.validate import run_program

BENCHMARKS = BenchmarksConfig(problems=200)
BANK = QuestionBankConfig(problems=900)
REWRITES = RewriteConfig(questions=300, forum_share=0.5, forum_noise=0.5)
DOCUMENTS = SyntheticConfig(exercises=200, questions_and_answers=200, annotated_programs=80, program_reversals=40, worksheets=3)
CHATS = ConversationConfig(conversations=1200)


def benchmarks(stage: Runner, seed: int = 0):
    return stage("benchmarks", "factory.synthesis.benchmarks:run", BENCHMARKS, seed=seed)


def bank(stage: Runner, seed: int = 0):
    return stage("question_bank", "factory.synthesis.questions:run", BANK, "benchmarks", seed=seed)


def rewrites(stage: Runner, section: RewriteConfig = REWRITES):
    return stage("web_rewrites", "factory.synthesis.rewrites:run", section, "seed_passages", "question_bank")


def documents(stage: Runner):
    return stage("synthetic_documents", "factory.synthesis.documents:run", DOCUMENTS, "seed_passages", "question_bank")


def chats(stage: Runner, section: ConversationConfig = CHATS):
    inputs = ("question_bank", "synthetic_documents", "refusals", "benchmarks")
    return stage("sft_conversations", "factory.synthesis.conversations:run", section, *inputs)


def test_benchmarks_are_distinct_and_the_same_whatever_the_experiment_s_seed(stage: Runner) -> None:
    first, second = benchmarks(stage, seed=1), benchmarks(stage, seed=2)
    rows = first.records("problems")
    assert len({row["text"] for row in rows}) == 200
    assert {len(row["steps"]) for row in rows} == {2, 3, 4}
    assert first.digest("problems") == second.digest("problems")


def test_the_bank_is_disjoint_from_the_benchmarks_and_follows_its_seed(stage: Runner) -> None:
    held_out = {row["text"] for row in benchmarks(stage).records("problems")}
    first, again, other = bank(stage), bank(stage), bank(stage, seed=1)
    questions = [row["text"] for row in first.records("questions")]
    assert len(questions) == len(set(questions)) == 900
    assert not held_out & set(questions)
    assert first.digest("questions") == again.digest("questions") != other.digest("questions")
    assert any(len(row["steps"]) == 1 for row in first.records("questions"))


def test_collisions_with_a_benchmark_are_dropped_and_counted(stage: Runner) -> None:
    stage("benchmarks", "factory.synthesis.benchmarks:run", BenchmarksConfig(problems=3000, min_steps=2, max_steps=2))
    section = QuestionBankConfig(problems=3000, step_weights=(0, 1, 0, 0))
    finished = stage("question_bank", "factory.synthesis.questions:run", section, "benchmarks")
    assert finished.result.counts.dropped["benchmark"] > 0
    held_out = {row["text"] for row in stage.done["benchmarks"].records("problems")}
    assert not held_out & {row["text"] for row in finished.records("questions")}


@pytest.mark.parametrize(("module", "remedy"), [("questions", "question_bank.step_weights"), ("benchmarks", "ask for fewer")])
def test_more_problems_than_there_are_is_one_clear_error(stage: Runner, monkeypatch: pytest.MonkeyPatch, module: str, remedy: str) -> None:
    benchmarks(stage)
    ten = list(islice(draw_problems(random.Random(0), (0, 0, 1)), 10))
    monkeypatch.setattr(f"factory.synthesis.{module}.draw_problems", lambda *_: cycle(ten))
    with pytest.raises(SeedmillError, match=remedy):
        benchmarks(stage) if module == "benchmarks" else bank(stage)


def test_rewrites_keep_their_parents_and_name_their_writer(seeded: Runner) -> None:
    benchmarks(seeded)
    known = {row["id"] for row in bank(seeded).records("questions")} | {
        row["id"] for row in seeded.done["seed_passages"].records("passages")
    }
    rows = rewrites(seeded).records("documents")
    assert {"question", "exercise", "discussion", "forum", "forum_wrong"} == {row["kind"] for row in rows}
    for row in rows:
        assert row["parents"]
        assert set(row["parents"]) <= known
        transform, model, prompt = row["created_by"].split(" ")
        assert "@" in transform
        assert model == "procedural-teacher"
        assert "@" in prompt


def test_a_wrong_forum_answer_is_labelled_in_its_kind(seeded: Runner) -> None:
    benchmarks(seeded)
    answers = {row["id"]: row["answer"] for row in bank(seeded).records("questions")}
    threads = [row for row in rewrites(seeded).records("documents") if row["kind"].startswith("forum")]
    right = {row["kind"]: [] for row in threads}
    for row in threads:
        right[row["kind"]].append(answer_is_correct(row["text"], answers[row["parents"][0]]))
    assert all(right["forum"])
    assert not any(right["forum_wrong"])
    assert 0.3 < len(right["forum_wrong"]) / len(threads) < 0.7


def test_cloze_exercises_fill_to_words_of_their_passage_and_weak_ones_are_revised(seeded: Runner) -> None:
    benchmarks(seeded)
    bank(seeded)
    finished = rewrites(seeded)
    passages = {row["id"]: " ".join(row["text"].split()) for row in seeded.done["seed_passages"].records("passages")}
    exercises = [row for row in finished.records("documents") if row["kind"] == "exercise"]
    for row in exercises:
        text, missing = row["text"].removeprefix("Exercise. Fill in the gap. ").split("\nSolution. Answer: ")
        assert text.replace("____", missing) in passages[row["parents"][0]]
    revised = [row for row in exercises if "revise-exercise@1" in row["created_by"]]
    assert 0 < len(revised) <= finished.result.metrics["exercises_revised"]
    for row in revised:
        text, missing = row["text"].split("\nSolution. Answer: ")
        assert missing.lower() not in text.lower()


def test_a_teacher_that_fails_most_of_the_time_stops_the_stage(seeded: Runner) -> None:
    benchmarks(seeded)
    bank(seeded)
    with pytest.raises(SeedmillError, match="max_drop_share"):
        rewrites(seeded, RewriteConfig(questions=0, max_drop_share=0.01))


def test_synthetic_documents_are_true_and_their_counts_add_up(seeded: Runner) -> None:
    benchmarks(seeded)
    answers = {row["id"]: row["answer"] for row in bank(seeded).records("questions")}
    finished = documents(seeded)
    made, rows = finished.result.counts.made, finished.records("documents")
    assert sum(made.values()) == len(rows)
    assert made == {kind: sum(row["kind"] == kind for row in rows) for kind in made}
    assert (made["exercise"], made["question"], made["program"], made["worksheet"]) == (200, 200, 80, 3)
    for row in rows:
        if row["kind"] in {"exercise", "question"}:
            assert answer_is_correct(row["text"], answers[row["parents"][0]])
        if row["kind"] == "program":
            assert run_program(row["text"]) == answers[row["parents"][0]]
        if row["kind"] == "worksheet":
            assert len(row["parents"]) == 24
        assert row["cluster"] == ("code" if row["kind"] in {"program", "instruction"} else "synthetic")


def test_reversal_puts_the_instruction_first_and_keeps_real_functions(seeded: Runner) -> None:
    benchmarks(seeded)
    bank(seeded)
    finished = documents(seeded)
    pairs = [read_instructed_code(row["text"]) for row in finished.records("documents") if row["kind"] == "instruction"]
    assert sum(code.startswith("x = ") for _, code in pairs) == 40
    functions = {code.split("(")[0] for _, code in pairs if code.startswith("def ")}
    assert functions == {"def isleap", "def leapdays", "def countOf", "def indexOf"}
    assert finished.result.counts.dropped == {"reversal: not faithful": 1}, "the naive `indent` marks blank lines"


def test_conversations_hold_no_question_that_is_held_out_from_any_input(seeded: Runner, refusals) -> None:
    held_out = [row["text"] for row in benchmarks(seeded).records("problems")]
    bank(seeded)
    documents(seeded)
    put = [held_out[0], held_out[1].replace(" ", "  "), held_out[2].upper(), "who was the LAST king of Atlantis?"]
    refusals([*put, "Who was the first king of Atlantis?"])
    finished = chats(seeded)
    rows = finished.records("conversations")
    assert finished.result.counts.dropped == {"held out": 4}
    assert not {*held_out, *put} & {message["content"] for row in rows for message in row["messages"]}
    assert any(row["messages"][0]["content"].endswith("king of Atlantis?") for row in rows)


def test_conversations_mix_styles_by_weight_and_hold_identity_and_safety(seeded: Runner, refusals) -> None:
    benchmarks(seeded)
    bank(seeded)
    documents(seeded)
    refusals(["Who was the first king of Atlantis?"])
    rows = chats(seeded).records("conversations")
    assert len({row["id"] for row in rows}) == len(rows)
    problems = [row for row in rows if row["source"] == "problems" and "Answer:" in row["text"]]
    styles = [read_solution(row["messages"][1]["content"])[0] for row in problems]
    assert len(problems) == 1200
    assert abs(styles.count("steps") / 1200 - 0.40) < 0.05
    assert abs(styles.count("direct") / 1200 - 0.25) < 0.05
    assert {"math", "coding", "reasoning", "conversation", "identity", "safety"} == {row["domain"] for row in rows}
    assert 0.01 <= sum(row["domain"] == "safety" for row in rows) / len(rows) <= 0.05
    user, assistant = (message["content"] for message in rows[0]["messages"])
    assert rows[0]["text"] == f"<|im_start|>user<|im_sep|>{user}<|im_end|><|im_start|>assistant<|im_sep|>{assistant}<|im_end|>"


def test_more_conversations_than_styles_allow_are_refused(seeded: Runner, refusals) -> None:
    benchmarks(seeded)
    bank(seeded)
    documents(seeded)
    refusals([])
    with pytest.raises(SeedmillError, match="2700 at most"):
        chats(seeded, ConversationConfig(conversations=2701))
