import json
from pathlib import Path

import pytest
from stage_bench import Bench, ScriptedModel, byte_tokenizer, digests, question, rows

from factory.errors import SeedmillError
from factory.preference import group, pivotal
from factory.preference.questions import Examiner, draw_questions, fitting
from factory.records import new_record

INPUTS = ("sft_checkpoint", "question_bank", "refusals", "benchmarks")
SECTION = {"questions": 10, "filter_samples": 20, "samples": 20, "most_samples": 20, "max_new_tokens": 40, "figure_samples": 10}
GOOD, BAD, LOST = "So it is. Answer: 8", "Say. Answer: 9", "So it is. Answer: 7"
DECISIVE = {GOOD: 0.5, BAD: 0.4, LOST: 0.1}
QUESTIONS = [question(f"Question {i}: 5 + 3?", "8", family) for i, family in enumerate(["story", "code", "list", "story", "story"])]
SCRIPT = {q["text"]: DECISIVE for q in QUESTIONS[:3]} | {QUESTIONS[3]["text"]: {GOOD: 1.0}, QUESTIONS[4]["text"]: {BAD: 1.0}}
REFUSAL = new_record(
    source="trivia", locator="1", text="r", kind="refusal_pair", created_by="test@1",
    domain="unknown + safety", question="q", prompt=[1], chosen=[2, 3], rejected=[4], evidence="{}",
)  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.put("question_bank", "questions", QUESTIONS)
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("refusals", "pairs", [REFUSAL])
    bench.give("sft_checkpoint").mkdir(parents=True)
    return bench


@pytest.fixture
def model(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def use(dies_at: int = 0) -> ScriptedModel:
        model = ScriptedModel(SCRIPT, bench.tokenizer, dies_at=dies_at)
        monkeypatch.setattr(group, "open_sampler", lambda *_: model)
        return model

    return use


def test_pairs_differ_in_one_token_and_stand_where_the_answers_part(bench: Bench, model) -> None:
    model()
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    pairs = [pair for pair in rows(context, "pairs") if pair["kind"] == "pivotal_token"]
    assert pairs
    assert {len(pair[side]) for pair in pairs for side in ("chosen", "rejected")} == {1}
    decoded = {(bench.tokenizer.decode(pair["chosen"]), bench.tokenizer.decode(pair["rejected"])) for pair in pairs}
    assert decoded <= {("o", "a"), ("8", "7")}
    assert ("o", "a") in decoded
    for pair in pairs:
        source = next(q for q in QUESTIONS if q["id"] == pair["question"])
        assert pair["parents"] == [source["id"]]
        assert tuple(pair["prompt"]) > tuple(bench.tokenizer.encode_chat([{"role": "user", "content": source["text"]}]))
        evidence = json.loads(pair["evidence"])
        assert evidence["chosen"]["success"] > evidence["rejected"]["success"]


def test_solved_and_hopeless_questions_are_dropped_by_name_and_refusals_appended(bench: Bench, model) -> None:
    model()
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    counts = context.result().counts
    assert counts.dropped == {"too easy": 1, "too hard": 1}
    assert counts.kept == 3 + 1
    assert context.metrics["oracles"]["exact"] >= 1
    assert [pair["id"] for pair in rows(context, "pairs")][-1] == REFUSAL["id"]
    report = json.loads((context.out / "pivots.json").read_text())
    assert report["pairs_by_domain"].keys() == {"math", "python", "reasoning", "unknown + safety"}
    assert report["pairs"] == len(rows(context, "pairs")) - 1
    assert report["pivots"] == report["pairs"] + report["unpaired_or_repeated_pivots"] + report["failed_verification"]
    assert 0 <= report["false_discovery_rate"] <= report["stated_error_rate"]
    assert 0 < report["power"] <= report["verification_power"] <= 1
    assert 0 <= report["probable_token_chosen"] <= 1
    assert report["decode_tokens"] > 0


@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_a_killed_search_goes_on_after_its_last_whole_round_to_the_same_result(bench: Bench, model, dies_at: int) -> None:
    whole = model()
    undisturbed = bench.context("pivotal_pairs", INPUTS, attempt="whole", **SECTION)
    pivotal.run(undisturbed)
    model(dies_at=dies_at)
    with pytest.raises(KeyboardInterrupt):
        pivotal.run(bench.context("pivotal_pairs", INPUTS, attempt="killed", **SECTION))
    rest = model()
    resumed = bench.context("pivotal_pairs", INPUTS, attempt="resumed", previous=["killed"], **SECTION)
    pivotal.run(resumed)
    assert digests(resumed) == digests(undisturbed)
    assert rest.calls == whole.calls - (dies_at - 1)


def test_a_part_that_answers_another_question_is_not_used(bench: Bench, model) -> None:
    model()
    pivotal.run(bench.context("pivotal_pairs", INPUTS, attempt="1", **SECTION))
    again = model()
    pivotal.run(bench.context("pivotal_pairs", INPUTS, attempt="2", previous=["1"], **{**SECTION, "temperature": 0.9}))
    assert again.calls > 2


def test_every_pair_was_verified_with_fresh_samples(bench: Bench, model) -> None:
    model()
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    fresh = [json.loads(p["evidence"])["fresh"] for p in rows(context, "pairs") if p["kind"] == "pivotal_token"]
    assert fresh
    assert all(abs(change["change"]) > 0.15 and change["samples"] >= 8 for change in fresh)


def test_the_picture_boxes_the_pivot_and_escapes_the_text(bench: Bench, model) -> None:
    from factory.preference.figure import Trajectory, render

    model()
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    data = json.loads((context.out / "trajectory.json").read_text())
    page = (context.out / "figure3.html").read_text()
    assert 'class="pivot' in page
    assert render(Trajectory(**data)) == page
    assert "unknown to 1.00" not in page
    hostile = Trajectory("<script>", ("<b>", "&"), (-0.1, -3.0), (0.5, None, 1.0), (), 0.2, 8)
    assert "<script>" not in render(hostile)
    assert 'class="rare"' in render(hostile)


def test_every_searched_answer_with_a_verified_pivot_is_kept_for_the_command(bench: Bench, model) -> None:
    model()
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    answers = [json.loads(line) for line in (context.out / "answers.jsonl").read_text().splitlines()]
    assert {answer["id"] for answer in answers} <= {q["id"] for q in QUESTIONS[:3]}
    assert answers
    pivots = 0
    for answer in answers:
        assert len(answer["success"]) == len(answer["tokens"]) + 1 == len(answer["log_probs"]) + 1
        assert answer["success"][-1] == ("".join(answer["tokens"]).startswith(GOOD))
        for position in answer["pivots"]:
            pivots += 1
            assert abs(answer["success"][position + 1] - answer["success"][position]) > 0.15
    report = json.loads((context.out / "pivots.json").read_text())
    assert pivots >= report["pairs"]
    shown = json.loads((context.out / "trajectory.json").read_text())
    assert len(shown["pivots"]) == max(len(answer["pivots"]) for answer in answers)


@pytest.mark.parametrize("text", [QUESTIONS[2]["text"], "question  2: 5 + 3?"])
def test_a_bank_that_holds_a_benchmark_problem_is_an_error(bench: Bench, text: str) -> None:
    bench.put("benchmarks", "problems", [question(text, "8")])
    with pytest.raises(SeedmillError, match="is a benchmark's problem"):
        draw_questions(bench.context("pivotal_pairs", INPUTS), 10)


def test_the_same_questions_are_drawn_whatever_the_order_of_the_bank(bench: Bench) -> None:
    first = bench.context("pivotal_pairs", INPUTS)
    drawn = draw_questions(first, 2)
    bench.put("question_bank", "questions", QUESTIONS[::-1])
    assert draw_questions(bench.context("pivotal_pairs", INPUTS), 2) == drawn
    assert first.counts.dropped == {"not drawn": 3}


def test_a_question_that_leaves_no_room_for_an_answer_is_dropped_and_counted(bench: Bench) -> None:
    bench.put("question_bank", "questions", [*QUESTIONS, question("word " * 200, "8")])
    context = bench.context("pivotal_pairs", INPUTS)
    config = context.inputs["sft_checkpoint"].path / "hf" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"max_position_embeddings": 256}')
    examiner = Examiner(byte_tokenizer())
    drawn = draw_questions(context, 10)
    assert {q["id"] for q in fitting(context, drawn, examiner, 32)} == {q["id"] for q in QUESTIONS}
    assert context.counts.dropped == {"longer than the context": 1}


def test_without_a_question_in_the_window_only_refusals_remain(bench: Bench, model) -> None:
    model()
    bench.put("question_bank", "questions", QUESTIONS[3:])
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    assert [pair["id"] for pair in rows(context, "pairs")] == [REFUSAL["id"]]
    assert sorted(output.name for output in context.outputs) == ["answers.jsonl", "pairs", "pivots.json"]
