import json
import sys
from pathlib import Path

import evaluated_checkpoints as made
import pyarrow.parquet as pq
import pytest

from factory.errors import SeedmillError
from factory.evaluation import checkpoint as evaluation
from factory.evaluation.candidate import Candidate
from factory.evaluation.records import Reply, style_of
from factory.evaluation.refusal import is_refusal, verdict
from factory.evaluation.scores import three_way
from factory.preference import trivia
from factory.preference.trivia_records import EXAMPLE, HELD_OUT, KNOWLEDGE, LIST, question_record
from factory.schemas import PROBLEM
from factory.synthesis.formats import exercise, native_prompt
from factory.synthesis.problems import problem_of, write_solution
from factory.tokens.tokenizer import EOD

sys.path.append(str(Path(__file__).parents[1] / "synthesis"))
from chat_server import ChatServer


@pytest.fixture
def inputs(tokenizer_folder, checkpoint, held_out):
    return {"tokenizer": tokenizer_folder, "sft_checkpoint": checkpoint, "benchmarks": held_out}


def evaluate(folder, inputs, **section):
    context = made.stage(folder, "evaluation/sft_checkpoint", {"checkpoint": "sft_checkpoint", "max_new_tokens": 24, **section}, inputs)
    evaluation.run(context)
    context.result()
    return context


def rows_of(context):
    return pq.read_table(context.out / "answers").to_pylist()


class Scripted(Candidate):
    """A checkpoint that gives prepared answers, in the order of the prompts."""

    answers: list[str]

    def ask(self, prompts, **_):
        return [[Reply(text, 5, True)] for text, _ in zip(self.answers, prompts, strict=True)]


@pytest.mark.parametrize("prompt", ["native", "chat"])
def test_every_problem_is_answered_once_greedily_and_once_by_sampling(tmp_path, inputs, problems, prompt):
    context = evaluate(tmp_path, inputs, prompt=prompt)
    rows = rows_of(context)
    for mode in ("greedy", "sampled"):
        assert sorted(row["parents"][0] for row in rows if row["mode"] == mode) == sorted(problem["id"] for problem in problems)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["checkpoint"] for row in rows} == {"sft_checkpoint@v1"}
    assert (context.counts.read, context.counts.made) == (len(problems), {"answer": 2 * len(problems)})
    scores = json.loads((context.out / "scores.json").read_text())
    assert scores["greedy"]["n"] == sum(family["n"] for family in scores["sampled"]["families"].values()) == len(problems)


def test_an_evaluation_repeats_itself_to_the_digest_even_after_it_was_killed(tmp_path, inputs, monkeypatch):
    whole = evaluate(tmp_path / "whole", inputs)
    with monkeypatch.context() as patch:
        patch.setattr(Candidate, "ask", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            evaluate(tmp_path / "killed", inputs)
    again = evaluate(tmp_path / "killed", inputs)
    assert [output.digest for output in again.outputs] == [output.digest for output in whole.outputs]


def test_right_answers_are_counted_by_family_and_style(tmp_path, inputs, problems, monkeypatch):
    solved = [write_solution(problem_of(row), "brief") if i % 2 else "Answer: 99" for i, row in enumerate(problems)]
    monkeypatch.setattr(Scripted, "answers", solved, raising=False)
    monkeypatch.setattr(evaluation, "Candidate", Scripted)
    greedy = json.loads((evaluate(tmp_path, inputs).out / "scores.json").read_text())["greedy"]
    assert (greedy["correct"], greedy["n"], greedy["accuracy"]) == (15, 30, 0.5)
    assert greedy["styles"]["brief"]["accuracy"] == 1
    assert greedy["styles"]["direct"]["accuracy"] == 0
    assert greedy["low"] == pytest.approx(0.3315, abs=1e-4)
    for family, found in greedy["families"].items():
        assert found["correct"] == sum(row["family"] == family for row in problems[1::2])


def test_a_base_model_that_goes_on_to_another_exercise_is_graded_on_the_first(tmp_path, inputs, problems, monkeypatch):
    monkeypatch.setattr(
        Scripted, "answers", [f" Answer: {row['answer']}\nExercise. More?\nSolution. Answer: 99" for row in problems], raising=False
    )
    monkeypatch.setattr(evaluation, "Candidate", Scripted)
    assert evaluate(tmp_path, inputs, prompt="native").metrics["greedy_accuracy"] == 1


TRIVIA = [
    ("What is the capital of France?", "Paris", KNOWLEDGE),
    ("Who ruled Merrowisk?", "", KNOWLEDGE),
    ("The list is 3 1 2. Give the last number.", "2", LIST),
]
EXAMPLE_QUESTION = ("Who wrote Emma?", "Jane Austen", KNOWLEDGE)


def asked_of(folder, inputs, monkeypatch, replies, **section):
    """The context of an evaluation in which the trivia get these replies, and the prompts that they were put in."""
    questions = [question_record(text, answer, HELD_OUT, kind, "t@1") for text, answer, kind in TRIVIA]
    examples = [question_record(*EXAMPLE_QUESTION[:2], EXAMPLE, EXAMPLE_QUESTION[2], "t@1")]
    put = []

    class Both(Scripted):
        def ask(self, prompts, **_):
            if len(prompts) != len(TRIVIA):
                return [[Reply("Answer: 1", 5, True)] for _ in prompts]
            put.extend(self.tokenizer.decode(prompt) for prompt in prompts)
            return [[Reply(text, 5, True)] for text in replies]

    monkeypatch.setattr(evaluation, "Candidate", Both)
    refusals = made.make_questions(folder / "refusals", questions, examples)
    return evaluate(folder / "run", inputs | {"refusals": refusals}, **section), put


def test_trivia_questions_are_graded_three_ways(tmp_path, inputs, monkeypatch):
    replies = ["It is Paris.", "I do not know of such a place.", "Answer: 1"]
    context, _ = asked_of(tmp_path, inputs, monkeypatch, replies)
    scores = json.loads((context.out / "scores.json").read_text())["trivia"]
    assert (scores["correct"], scores["not attempted"], scores["incorrect"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert scores["families"]["unanswerable"]["not attempted"] == 1


def test_the_manifest_holds_all_three_shares_for_questions_with_and_without_an_answer(tmp_path, inputs, monkeypatch):
    context, _ = asked_of(tmp_path, inputs, monkeypatch, ["It is Paris.", "King Ardel.", "I do not know."])
    assert {"exact", "refusal"} <= context.metrics["oracles"].keys()
    found = {name: value for name, value in context.metrics.items() if name.startswith("trivia")}
    assert found == pytest.approx(
        {"trivia_correct": 1 / 3, "trivia_not_attempted": 1 / 3, "trivia_incorrect": 1 / 3}
        | {"trivia_answerable_correct": 0.5, "trivia_answerable_not_attempted": 0.5, "trivia_answerable_incorrect": 0}
        | {"trivia_unanswerable_correct": 0, "trivia_unanswerable_not_attempted": 0, "trivia_unanswerable_incorrect": 1}
    )


def test_a_base_model_is_asked_trivia_after_examples_and_a_chat_model_is_not(tmp_path, inputs, monkeypatch):
    replies = [" Answer: Paris\n\nExercise. Who wrote it? I do not know.", " Answer: Ardel", " Answer: 2"]
    native, put = asked_of(tmp_path / "native", inputs, monkeypatch, replies, prompt="native")
    example = exercise(EXAMPLE_QUESTION[0], "Answer: Jane Austen")
    assert put == [EOD + f"{example}\n\n{native_prompt(text)}" for text, _, _ in TRIVIA[:2]] + [EOD + native_prompt(TRIVIA[2][0])]
    assert native.metrics["trivia_answerable_correct"] == 1
    assert native.metrics["trivia_unanswerable_incorrect"] == 1
    _, put = asked_of(tmp_path / "chat", inputs, monkeypatch, replies)
    assert not [prompt for prompt in put if "Emma" in prompt]


def test_the_sampled_run_draws_with_the_section_s_temperature_and_top_p(tmp_path, inputs, monkeypatch):
    asked = []

    class Noting(Candidate):
        def ask(self, prompts, **settings):
            asked.append((settings["temperature"], settings["top_p"]))
            return [[Reply("Answer: 1", 5, True)] for _ in prompts]

    monkeypatch.setattr(evaluation, "Candidate", Noting)
    evaluate(tmp_path, inputs, temperature=0.5, top_p=0.9)
    assert asked == [(0.0, 0.9), (0.5, 0.9)]


def test_a_limit_takes_the_first_problems(tmp_path, inputs, problems):
    context = evaluate(tmp_path, inputs, problems=7)
    assert {row["parents"][0] for row in rows_of(context)} == {row["id"] for row in problems[:7]}


def test_a_checkpoint_of_another_tokenizer_is_refused(tmp_path, inputs):
    other = made.make_checkpoint(tmp_path / "other", 96)
    with pytest.raises(SeedmillError, match="96 embeddings"):
        evaluate(tmp_path / "run", inputs | {"sft_checkpoint": other})


def test_a_checkpoint_that_is_no_input_is_named(tmp_path, inputs):
    with pytest.raises(SeedmillError, match="'sft' is not among its inputs"):
        evaluate(tmp_path, inputs, checkpoint="sft")


@pytest.mark.parametrize("style", ["direct", "brief", "steps"])
def test_the_style_of_a_written_solution_is_read_back(problems, style):
    assert {style_of(write_solution(problem_of(row), style)) for row in problems} == {style}
    assert style_of("Hm. Answer: 3") == "other"


def test_refusals_are_told_from_answers():
    for text in ("I don't know who that is.", "I'm sorry, I cannot help with that.", "I have never heard of Merrowisk.", "I am not sure."):
        assert is_refusal(text), text
    for text in ("Answer: 5", "The capital is Paris.", "So 3 + 4 = 7. Answer: 7", "She knows no fear."):
        assert not is_refusal(text), text
    assert verdict("I do not know, perhaps Paris", correct=True) == "correct"


def test_every_refusal_that_training_teaches_is_recognised_and_no_taught_answer_is():
    for text in (*trivia.REFUSALS, *(template.format(subject="the island of Merrowisk") for template in trivia.BOGUS_REFUSALS)):
        assert is_refusal(text), text
    for template in trivia.ANSWERS:
        assert not is_refusal(template.format(answer="Paris"))


def test_the_three_way_metric_gives_the_f1_values_of_the_papers_argument():
    always = three_way(["correct"] * 6 + ["incorrect"] * 94)
    careful = three_way(["correct"] * 3 + ["incorrect"] * 3 + ["not attempted"] * 94)
    assert always["f1"] == pytest.approx(0.06)
    assert careful["f1"] == pytest.approx(0.0566, abs=1e-4)
    assert careful["incorrect"] < always["incorrect"]


def test_a_question_that_a_model_has_no_room_for_is_failed_and_ends_nothing(tmp_path, inputs, problems):
    long = {**problems[0], "id": "long", "text": "How many? " * 400}
    put = made.write_records(tmp_path / "long", "benchmarks", problems=([long, *problems[:3]], PROBLEM))
    context = evaluate(tmp_path / "evaluation", {**inputs, "benchmarks": put})
    (row,) = (row for row in rows_of(context) if row["parents"] == ["long"] and row["mode"] == "greedy")
    assert (row["text"], row["tokens"], row["correct"]) == ("", 0, False)
    assert json.loads((context.out / "scores.json").read_text())["greedy"]["n"] == 4


def test_answers_in_other_words_count_where_the_checker_accepts_them(tmp_path, inputs, problems, monkeypatch):
    texts = ["In other words.", "Wrong.", *(["?"] * (len(problems) - 2))]
    monkeypatch.setattr(Scripted, "answers", texts, raising=False)
    monkeypatch.setattr(evaluation, "Candidate", Scripted)
    with ChatServer(lambda prompt: json.dumps({"matches_key": "True" if "other words." in prompt else "False"})) as server:
        put = {"checkpoint": "sft_checkpoint", "checker": {"kind": "openai", "model": "c"}}
        context = made.stage(tmp_path, "evaluation/sft_checkpoint", put, inputs)
        free = {"price_per_million_input": 0.0, "price_per_million_output": 0.0, "api_key_env": "TEST_TEACHER_KEY"}
        context.spec.runtime.update(teacher={"base_url": server.url, **free}, cache=str(tmp_path / "cache"))
        evaluation.run(context)
    assert [row["correct"] for row in rows_of(context)].count(True) == 2
    assert context.metrics["checker"]["true"] == 2
    assert context.result().cost.teacher_requests == len(server.asked) == len(problems)
