import json

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
from factory.records import new_record
from factory.synthesis.problems import problem_of, write_solution


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


def test_trivia_questions_are_graded_three_ways(tmp_path, inputs, problems, monkeypatch):
    asked = [
        ("What is the capital of France?", "Paris", "answerable"),
        ("Who ruled Merrowisk?", "", "unanswerable"),
        ("Who wrote Emma?", "Jane Austen", "answerable"),
    ]
    questions = [
        new_record(
            source="t", locator=text, text=text, kind="trivia", created_by="t@1", family=family, answer=answer, steps=[], solution=""
        )
        for text, answer, family in asked
    ]
    replies = ["It is Paris.", "I do not know of such a place.", "Charles Dickens"]

    class Both(Scripted):
        def ask(self, prompts, **_):
            texts = replies if len(prompts) == 3 else ["Answer: 1"] * len(prompts)
            return [[Reply(text, 5, True)] for text in texts]

    monkeypatch.setattr(evaluation, "Candidate", Both)
    context = evaluate(tmp_path / "run", inputs | {"refusals": made.make_questions(tmp_path / "refusals", questions)})
    scores = json.loads((context.out / "scores.json").read_text())["trivia"]
    assert (scores["correct"], scores["not attempted"], scores["incorrect"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert scores["families"]["unanswerable"]["not attempted"] == 1
    assert context.metrics["trivia_not_attempted"] == pytest.approx(1 / 3)


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
