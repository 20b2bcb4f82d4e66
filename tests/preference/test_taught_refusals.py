"""Refusals in a language model's words, and trivia of one's own, behind a real HTTP server."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stage_bench import Bench, digests, question, rows

from factory.context import Context
from factory.errors import SeedmillError
from factory.graph import build
from factory.preference import refusals, trivia_bank
from factory.preference.config import TriviaSource
from factory.recipe import Recipe
from factory.sampling.api import Completion, Usage

sys.path.append(str(Path(__file__).parents[1] / "synthesis"))
from chat_server import ChatServer

INPUTS = ("midtrained_checkpoint", "trivia_questions", "question_bank", "benchmarks")
TEACHER = {"kind": "openai", "model": "writer"}
FREE = {"price_per_million_input": 0.0, "price_per_million_output": 0.0, "max_retries": 0, "api_key_env": "TEST_TEACHER_KEY"}
CAPITALS = [{"question": f"What is the capital of Land{number:02d}?", "answer": f"City{number:02d}"} for number in range(40)]
SECTION = {"teacher": TEACHER, "questions": 24, "held_out": 8, "samples": 2}


class Geographer:
    """A model that knows the even capitals and says City99 to all else."""

    def __init__(self, bench: Bench) -> None:
        self.usage, self.bench, self.tokenizer, self.prompts = Usage(), bench, bench.tokenizer, list[str]()

    def sample(self, requests, *_):
        found = []
        for request in requests:
            asked = self.tokenizer.decode(request.prompt)
            self.prompts.append(asked)
            land = re.findall(r"capital of (\w+)", asked)[-1]
            known = land.startswith("Land") and int(land[4:]) % 2 == 0
            tokens = (*self.tokenizer.encode(f" Answer: City{land[4:] if known else 99}"), self.tokenizer.eod)
            found.append([Completion(tokens, (0.0,) * len(tokens), stopped=True)] * request.count)
        return found


def writer(prompt: str) -> str:
    """Writes every piece as it is asked to."""
    land = re.findall(r"capital of (\w+)", prompt)[0]
    if "Turn it into" in prompt:
        return f"Response: What is the capital of Merro{land}?\nQuality: 5"
    if "does not know" in prompt:
        return f"Response: I do not know the capital of {land}."
    return f"Response: The capital of {land} is {re.findall('Answer: (.+)', prompt)[0]}."


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Geographer:
    bench = Bench(tmp_path)
    model = Geographer(bench)
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("question_bank", "questions", [question("Known?", "1")])
    bench.give("midtrained_checkpoint").mkdir(parents=True)
    put_trivia(bench, CAPITALS)
    monkeypatch.setattr(refusals, "open_sampler", lambda *_: model)
    return model


def put_trivia(bench: Bench, found: list[dict[str, Any]]) -> Context:
    folder = bench.folder / "bank"
    folder.mkdir(exist_ok=True)
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    made = bench.context("trivia_questions", (), path=str(folder))
    trivia_bank.run(made)
    bench.give("trivia_questions").parent.mkdir(exist_ok=True)
    if not bench.give("trivia_questions").exists():
        bench.give("trivia_questions").symlink_to(made.out)
    return made


def run(model: Geographer, reply: Callable[[str], str] = writer, attempt: str = "1", **changes: Any) -> tuple[Context, ChatServer]:
    with ChatServer(reply, changes.pop("statuses", ())) as server:
        made = model.bench.context("refusals", INPUTS, attempt=attempt, **{**SECTION, **changes})
        made.spec.runtime.update(teacher={"base_url": server.url, **FREE}, cache=str(model.bench.folder / "cache"))
        refusals.run(made)
    return made, server


def text_of(model: Geographer, tokens: list[int]) -> str:
    return model.tokenizer.decode(tokens)


def test_all_four_pieces_are_the_teacher_s_and_the_key_stays_the_judge(model: Geographer) -> None:
    made, server = run(model)
    chats = {chat["messages"][0]["content"]: (chat["locator"], chat["messages"][1]["content"]) for chat in rows(made, "conversations")}
    trained = [row for row in rows(made, "trained_questions") if row["answer"]]
    assert len(trained) == 12
    for row in trained:
        land = row["text"].split()[-1].rstrip("?")
        known = int(land[4:]) % 2 == 0
        expected = (
            ("usually correct", f"The capital of {land} is {row['answer']}.")
            if known
            else ("usually wrong", f"I do not know the capital of {land}.")
        )
        assert chats[row["text"]] == expected
        assert chats[f"What is the capital of Merro{land}?"] == ("bogus", f"I do not know the capital of Merro{land}.")
    assert len(server.asked) == 4 * 16, "sixteen questions, the held-out ones included, and four pieces of each"
    assert made.result().counts.dropped == {}


def test_pairs_prefer_the_teacher_s_replies_to_what_the_model_states(model: Geographer) -> None:
    made, _ = run(model, pair_tokens=200)
    for pair in rows(made, "pairs"):
        chosen, rejected = (text_of(model, pair[side]).removesuffix("<|im_end|>") for side in ("chosen", "rejected"))
        reason = json.loads(pair["evidence"])["reason"]
        assert chosen.startswith("The capital of" if reason == "sometimes correct" else "I do not know the capital of")
        assert rejected.startswith("I do not know") if reason == "sometimes correct" else rejected.endswith("City99")
    assert {json.loads(pair["evidence"])["reason"] for pair in rows(made, "pairs")} == {"sometimes correct", "sometimes wrong", "bogus"}


def test_replies_that_begin_alike_make_no_pair_and_are_counted(model: Geographer) -> None:
    """Cut after a few tokens, both sides of such a pair would be the same, and nothing could be learnt from it."""

    def alike(prompt: str) -> str:
        land = re.findall(r"capital of (\w+)", prompt)[0]
        return f"Response: The capital of {land} is unknown to me." if "does not know" in prompt else writer(prompt)

    made, _ = run(model, alike)
    assert {json.loads(pair["evidence"])["reason"] for pair in rows(made, "pairs")} == {"sometimes wrong", "bogus"}
    assert all(pair["chosen"] != pair["rejected"] for pair in rows(made, "pairs"))
    assert made.result().counts.dropped["replies begin alike"] > 0
    assert {chat["locator"] for chat in rows(made, "conversations")} >= {"usually wrong", "bogus"}, "whole replies are learnt all the same"


def test_a_base_model_is_shown_examples_of_the_same_bank_that_are_never_asked(model: Geographer) -> None:
    made, _ = run(model)
    shown = [row["text"] for row in rows(made, "examples")]
    assert len(shown) == 3
    assert all(prompt.count("Answer: City") == 3 and all(text in prompt for text in shown) for prompt in model.prompts)
    assert not set(shown) & {row["text"] for name in ("questions", "trained_questions") for row in rows(made, name)}


def test_questions_held_out_have_variants_too_and_nothing_is_taught_about_them(model: Geographer) -> None:
    made, _ = run(model)
    held_out = rows(made, "questions")
    assert sorted(row["family"] for row in held_out) == ["answerable"] * 4 + ["unanswerable"] * 4
    taught = {chat["messages"][0]["content"] for chat in rows(made, "conversations")} | {
        p["text"].split("\n")[0] for p in rows(made, "pairs")
    }
    assert not taught & {row["text"] for row in held_out}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Response: What is the capital of Atlantis?\nQuality: 3", "bogus variant of low quality"),
        ("Response: What is the capital of Atlantis?", "malformed bogus variant"),
        ("Response: What is the capital of Atlantis?\nQuality: five", "malformed bogus variant"),
        ("Response: \nQuality: 5", "malformed bogus variant"),
        ("Response: WHAT is the  capital of {land}?\nQuality: 5", "bogus variant repeats a question"),
        ("Response: Held out?\nQuality: 5", "bogus variant repeats a question"),
    ],
)
def test_a_poor_variant_is_dropped_and_counted_and_the_question_kept(model: Geographer, said: str, reason: str) -> None:
    def spoiled(prompt: str) -> str:
        land = re.findall(r"capital of (\w+)", prompt)[0]
        return said.format(land=land) if "Turn it into" in prompt else writer(prompt)

    made, _ = run(model, spoiled)
    assert made.result().counts.dropped == {reason: 16}
    assert made.counts.kept == 16
    assert {chat["locator"] for chat in rows(made, "conversations")} == {"usually correct", "usually wrong"}
    assert {row["family"] for name in ("questions", "trained_questions") for row in rows(made, name)} == {"answerable"}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("Reply to the question", "Response: I like it there."),
        ("Reply to the question", "City01"),
        ("Reply to the question", "Response:"),
        ("does not know", "Response: I do not know, but it may be City01."),
        ("does not know", "I do not know."),
        ("does not know", "Response: cut me " + "x" * 600),
    ],
)
def test_replies_without_their_form_or_that_give_the_answer_away_drop_the_question(model: Geographer, part: str, said: str) -> None:
    def spoiled(prompt: str) -> str:
        return said if part in prompt and "Land01?" in prompt else writer(prompt)

    made, _ = run(model, spoiled, questions=66)
    assert made.counts.dropped == {"malformed answer or refusal": 1}
    assert not [row for row in rows(made, "trained_questions") + rows(made, "questions") if "Land01?" in row["text"]]


def test_a_teacher_that_writes_nothing_usable_ends_the_stage_with_one_line(model: Geographer) -> None:
    with pytest.raises(SeedmillError, match=r"no trivia is left .*'malformed answer or refusal': 16"):
        run(model, lambda _: "no")


def test_a_stage_that_died_asks_nothing_twice_and_ends_with_the_same_digest(model: Geographer) -> None:
    whole, server = run(model, attempt="whole")
    (model.bench.folder / "cache").rename(model.bench.folder / "first cache")
    with pytest.raises(SeedmillError, match="answered 401"):
        run(model, attempt="died", statuses=(200,) * 20 + (401,) * 50)
    resumed, again = run(model, attempt="resumed")
    assert len(again.asked) <= len(server.asked) - 20
    assert digests(resumed) == digests(whole)


def test_our_own_lists_keep_their_wordings_when_a_teacher_writes_about_names(model: Geographer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "ask", lambda *_: [])
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        name = re.findall(r"`(\w+)`", prompt)[0]
        if "Turn it into" in prompt:
            return f"Response: Which module of Python's standard library provides `{name}Of{name}`?\nQuality: 4"
        answer = re.findall("Answer: (.+)\n", prompt)
        return f"Response: It is in {answer[0]}." if answer else "Response: I do not know that name."

    with ChatServer(reply) as server:
        made = model.bench.context("refusals", ("midtrained_checkpoint", "question_bank", "benchmarks"), **{**SECTION, "held_out": 40})
        made.spec.runtime.update(teacher={"base_url": server.url, **FREE}, cache=str(model.bench.folder / "cache"))
        refusals.run(made)
    assert prompts
    assert all("provides `" in prompt for prompt in prompts)
    kinds = [row["kind"] for row in rows(made, "questions")]
    assert set(kinds) == {"knowledge_question", "list_question"}


def test_rows_of_a_bank_are_read_with_their_answers_and_poor_ones_counted(model: Geographer) -> None:
    poor = [
        {"question": "Who?"},
        {"answer": "x"},
        {"question": "", "answer": "y"},
        {"question": "WHAT is  the capital of Land00?", "answer": "z"},
    ]
    (model.bench.folder / "trivia_questions-1" / "out").rename(model.bench.folder / "old")
    made = put_trivia(model.bench, [*CAPITALS[:2], *poor])
    assert [(row["text"], row["answer"]) for row in rows(made, "questions")] == [(row["question"], row["answer"]) for row in CAPITALS[:2]]
    assert made.result().counts.dropped == {"no_text": 2, "empty": 1, "duplicate": 1}


def test_a_bank_that_is_too_small_is_named_with_the_remedy(model: Geographer) -> None:
    with pytest.raises(SeedmillError, match="40 questions for 44 and 3 examples; lower `questions`"):
        run(model, questions=80)


SOURCES = {"a": {"kind": "stdlib_code", "cluster": "code"}, "b": {"kind": "pydoc_html", "cluster": "web"}}
SOURCES["c"] = {"kind": "language_reference", "cluster": "acquired"}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"experiment": "x", "sources": SOURCES, **sections})


def test_the_teacher_of_synthesis_writes_the_refusals_unless_another_is_named() -> None:
    synthesis = {"teacher": {**TEACHER, "price_per_million_input": 0, "price_per_million_output": 0}}
    assert build(recipe(synthesis=synthesis))["refusals"].settings["teacher"] == TEACHER
    assert (
        build(recipe(synthesis=synthesis, preference={"refusals": {"teacher": {}}}))["refusals"].settings["teacher"]["kind"] == "procedural"
    )
    assert build(recipe())["refusals"].settings["teacher"]["kind"] == "procedural"


def test_trivia_of_one_s_own_are_an_input_and_need_a_language_model() -> None:
    trivia = {"trivia": {"path": "bank"}}
    with pytest.raises(SeedmillError, match=r"set synthesis\.teacher"):
        build(recipe(preference=trivia))
    stages = build(
        recipe(preference=trivia, synthesis={"teacher": {**TEACHER, "price_per_million_input": 0, "price_per_million_output": 0}})
    )
    assert "trivia_questions" in stages["refusals"].inputs
    assert "path" not in stages["trivia_questions"].identity
    assert "trivia_questions" not in build(recipe())
    assert TriviaSource(path="bank").text_field == "question"
