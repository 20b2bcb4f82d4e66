import importlib
import json
import random
from pathlib import Path

import pytest
from stage_bench import Bench, digests, question, rows

from factory.errors import SeedmillError
from factory.evaluation.refusal import is_refusal
from factory.preference import refusals
from factory.preference.refusals import Asked, grade, lessons, preferences
from factory.preference.trivia import ANSWERS, BOGUS_REFUSALS, MODULES, REFUSALS, SHOWN, Trivia, bogus_names, catalogue, draw_trivia
from factory.preference.trivia_records import KNOWLEDGE, LIST, base_prompt
from factory.sampling.api import Completion, Usage
from factory.synthesis.formats import exercise, native_prompt
from factory.tokens.tokenizer import chatml

ONE = Trivia("Which module provides `reduce`?", "functools", "Which module provides `reverseTools`?", "`reverseTools`", knowledge=True)
LISTED = Trivia(
    "The list is 4 8. Give the last number.", "8", "The list is 4 8. Give the eighth number.", "an eighth item", knowledge=False
)
INPUTS = ("midtrained_checkpoint", "question_bank", "benchmarks")


def reasons(asked: Asked) -> dict[str, str]:
    return {reason: reply for _, reply, reason in lessons(asked, 0.6, random.Random(0))}


def test_what_the_model_usually_knows_it_is_taught_to_answer() -> None:
    taught = reasons(Asked(ONE, right=4, wrong=("ast", "json")))
    assert taught.keys() == {"usually correct", "bogus"}
    assert taught["usually correct"].endswith("Answer: functools")


def test_what_it_usually_gets_wrong_it_is_taught_to_refuse() -> None:
    taught = reasons(Asked(ONE, right=2, wrong=("ast", "json", "os")))
    assert taught.keys() == {"usually wrong", "bogus"}
    assert taught["usually wrong"] in REFUSALS


def test_what_is_neither_is_left_out_and_the_bogus_question_is_always_refused() -> None:
    assert reasons(Asked(ONE, right=1, wrong=("ast",))).keys() == {"bogus"}
    (told,) = [reply for q, reply, _ in lessons(Asked(ONE, 1, ("ast",)), 0.6, random.Random(1)) if q == ONE.bogus]
    assert told in {form.format(subject="`reverseTools`") for form in BOGUS_REFUSALS}


def test_a_question_sometimes_right_and_sometimes_wrong_gives_both_preferences() -> None:
    right, wrong = preferences(Asked(ONE, right=1, wrong=("ast", "json", "ast")), random.Random(0))
    assert right.chosen.endswith("Answer: functools")
    assert right.rejected in REFUSALS
    assert wrong.chosen == right.rejected
    assert wrong.rejected.endswith("Answer: ast")
    assert {right.question, wrong.question} == {ONE.question}


def test_what_it_states_on_a_question_without_an_answer_loses_against_the_refusal() -> None:
    (pair,) = preferences(Asked(ONE, right=0, wrong=(), invented=("", "json", "os", "os")), random.Random(0))
    assert (pair.question, pair.reason) == (ONE.bogus, "bogus")
    assert pair.chosen in {form.format(subject=ONE.subject) for form in BOGUS_REFUSALS}
    assert pair.rejected.endswith("Answer: os")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(ONE, 3, ()), ["sometimes correct"]),
        (Asked(ONE, 0, ("ast",)), ["sometimes wrong"]),
        (Asked(ONE, 0, ("", "\ufffd")), []),
    ],
)
def test_always_right_always_wrong_and_unreadable_answers_give_what_they_can(asked: Asked, expected: list[str]) -> None:
    assert [reason for *_, reason in preferences(asked, random.Random(0))] == expected


def test_only_the_last_answer_before_a_next_exercise_is_graded() -> None:
    asked = grade(
        ONE, ["Answer: functools", " So. Answer: functools.\n\nExercise. Which\nSolution. Answer: os", "Answer: ast", "functools"]
    )
    assert (asked.right, asked.wrong) == (2, ("ast", ""))


def test_what_follows_an_invented_answer_as_a_next_exercise_is_not_it() -> None:
    asked = grade(ONE, [], ["Answer: os\n\nExercise. Which\nSolution. Answer: ast", "nothing"])
    assert asked.invented == ("os", "")


def test_to_misread_a_list_teaches_no_refusal() -> None:
    assert reasons(Asked(LISTED, right=0, wrong=("4", "4"))).keys() == {"bogus"}
    assert [reason for *_, reason in preferences(Asked(LISTED, right=1, wrong=("4",)), random.Random(0))] == ["sometimes correct"]


def test_names_are_asked_after_examples_and_lists_as_pretraining_shows_them() -> None:
    examples = [("Where is `b`?", "a"), ("Where is `d`?", "c")]
    assert base_prompt(LISTED.question, LIST, examples) == native_prompt(LISTED.question)
    assert base_prompt(ONE.question, KNOWLEDGE, examples) == "\n\n".join(
        [exercise("Where is `b`?", "Answer: a"), exercise("Where is `d`?", "Answer: c"), native_prompt(ONE.question)]
    )


def test_evaluation_takes_every_refusal_for_one_and_no_answer_for_one() -> None:
    texts = [*REFUSALS, *(form.format(subject=ONE.subject) for form in BOGUS_REFUSALS)]
    assert [text for text in texts if not is_refusal(text)] == []
    assert [form for form in ANSWERS if is_refusal(form.format(answer=ONE.answer))] == []


def test_the_catalogue_tells_the_truth() -> None:
    assert catalogue()["namedtuple"] == "collections"
    for name, module in random.Random(0).sample(sorted(catalogue().items()), 100):
        assert hasattr(importlib.import_module(module), name)


def test_bogus_names_exist_nowhere_and_differ() -> None:
    names = bogus_names(200, random.Random(0))
    assert len(set(names)) == 200
    assert not [name for name in names for module in MODULES if hasattr(importlib.import_module(module), name)]


def test_trivia_is_drawn_once_each_and_the_same_for_a_seed() -> None:
    drawn = draw_trivia(100, random.Random(3))
    assert len({one.question for one in drawn} | {one.bogus for one in drawn}) > 150
    assert len({one.question for one in drawn}) == 100
    assert drawn == draw_trivia(100, random.Random(3))
    with pytest.raises(SeedmillError, match="lower `questions`"):
        draw_trivia(100_000, random.Random(3))


class Knowing:
    """A sampler that reads every list rightly and knows no name."""

    def __init__(self, bench: Bench) -> None:
        self.usage = Usage()
        self.tokenizer = bench.tokenizer

    def sample(self, requests, *_):
        found = []
        for request in requests:
            last = self.tokenizer.decode(request.prompt).split("Exercise. ")[-1]
            digits = [word for word in last.replace(".", " ").split() if word.isdigit()]
            answers = {
                "first": digits[:1],
                "last": digits[-1:],
                "second": digits[1:2],
                "largest": [max(digits, default="")],
                "smallest": [min(digits, default="")],
            }
            answer = "".join(next((value for word, value in answers.items() if f" {word} " in last), ["nowhere"])) if digits else "nowhere"
            tokens = (*self.tokenizer.encode(f" Answer: {answer}"), self.tokenizer.eod)
            found.append([Completion(tokens, (0.0,) * len(tokens), stopped=True)] * request.count)
        return found


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("question_bank", "questions", [question("Known?", "1")])
    bench.give("midtrained_checkpoint").mkdir(parents=True)
    monkeypatch.setattr(refusals, "open_sampler", lambda *_: Knowing(bench))
    return bench


def test_the_stage_teaches_what_the_model_knows_and_holds_a_part_out(bench: Bench) -> None:
    context = bench.context("refusals", INPUTS, questions=40, held_out=8)
    refusals.run(context)
    questions, trained, chats, pairs = (rows(context, name) for name in ("questions", "trained_questions", "conversations", "pairs"))
    assert (len(questions), len(trained)) == (8, 40)
    assert {question["locator"] for question in questions} == {"held-out"}
    assert {(q["family"], bool(q["answer"])) for q in questions} == {("answerable", True), ("unanswerable", False)}
    assert not {q["text"] for q in questions} & {q["text"] for q in trained}
    assert {chat["messages"][0]["content"] for chat in chats} <= {q["text"] for q in trained}
    ids = {q["id"] for q in trained}
    assert all(set(record["parents"]) <= ids for record in [*chats, *pairs])
    for chat in chats:
        answered = "module" not in chat["messages"][0]["content"] and chat["locator"] != "bogus"
        assert ("Answer:" in chat["messages"][1]["content"]) == answered
        assert chat["text"] == chatml(chat["messages"])
    assert context.metrics["lessons"]["bogus"] == 20
    assert context.metrics["oracles"]["exact"] >= 1
    shown = rows(context, "examples")
    assert [row["answer"] for row in shown] == [catalogue()[name] for name in SHOWN]
    assert not {row["text"] for row in shown} & {q["text"] for q in (*questions, *trained)}
    assert digests(context).keys() == {"conversations", "pairs", "questions", "trained_questions", "examples"}


def test_pairs_hold_the_first_five_tokens_and_differ_in_them(bench: Bench) -> None:
    context = bench.context("refusals", INPUTS, questions=40, held_out=8)
    refusals.run(context)
    pairs = rows(context, "pairs")
    assert {pair["domain"] for pair in pairs} == {"unknown + safety"}
    assert {len(pair[side]) for pair in pairs for side in ("chosen", "rejected")} == {5}
    assert all(pair["chosen"] != pair["rejected"] for pair in pairs)
    assert {json.loads(pair["evidence"])["reason"] for pair in pairs} == {"sometimes correct", "sometimes wrong", "bogus"}


def test_what_the_question_bank_has_is_not_held_out(bench: Bench) -> None:
    context = bench.context("refusals", INPUTS, questions=40, held_out=8)
    refusals.run(context)
    first, *others = [row["text"] for row in rows(context, "questions") if row["answer"]]
    bench.put("question_bank", "questions", [question(first.upper(), "8")])
    again = bench.context("refusals", INPUTS, attempt="2", questions=40, held_out=8)
    refusals.run(again)
    assert [row["text"] for row in rows(again, "questions") if row["answer"]] == others
    assert again.result().counts.dropped == {"held out but in the question bank": 1}
    assert all(digests(again)[name] == digests(context)[name] for name in ("conversations", "pairs", "trained_questions"))


def test_a_benchmark_among_the_trivia_is_an_error(bench: Bench) -> None:
    first = bench.context("refusals", INPUTS, questions=40, held_out=8)
    refusals.run(first)
    bench.put("benchmarks", "problems", [question(rows(first, "questions")[0]["text"], "8")])
    with pytest.raises(SeedmillError, match="is a trivia question"):
        refusals.run(bench.context("refusals", INPUTS, questions=40, held_out=8))
