import json
from pathlib import Path

import pytest
from stage_bench import Bench, ScriptedModel, digests, question, rows

from factory.preference import rejection

INPUTS = ("sft_checkpoint", "question_bank", "pivotal_pairs", "benchmarks")
RIGHT, WRONG = "Answer: 8", "Answer: 7"
QUESTIONS = [question(f"Question {i}?", "8") for i in range(12)]
SECTION = {"filter_samples": 10, "round_questions": 2, "max_new_tokens": 20, "pairs_per_question": 3}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.put("question_bank", "questions", QUESTIONS)
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.give("sft_checkpoint").mkdir(parents=True)
    bench.give("pivotal_pairs").mkdir(parents=True)
    spend(bench, 10_000)
    return bench


def spend(bench: Bench, tokens: int) -> None:
    (bench.give("pivotal_pairs") / "pivots.json").write_text(json.dumps({"decode_tokens": tokens}))


def use(bench: Bench, monkeypatch: pytest.MonkeyPatch, *, dies_at: int = 0) -> None:
    script = {q["text"]: {RIGHT: 0.5, WRONG: 0.5} for q in QUESTIONS[:-2]} | {
        QUESTIONS[-2]["text"]: {RIGHT: 1.0},
        QUESTIONS[-1]["text"]: {WRONG: 1.0},
    }
    monkeypatch.setattr(rejection, "open_sampler", lambda *_: ScriptedModel(script, bench.tokenizer, dies_at=dies_at))


def test_right_answers_are_preferred_to_wrong_ones_of_the_same_question(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    use(bench, monkeypatch)
    context = bench.context("rejection_pairs", INPUTS, **SECTION)
    rejection.run(context)
    pairs = rows(context, "pairs")
    assert {(bench.tokenizer.decode(p["chosen"]), bench.tokenizer.decode(p["rejected"])) for p in pairs} == {
        (f"{RIGHT}<|im_end|>", f"{WRONG}<|im_end|>")
    }
    assert max(sum(p["question"] == q["id"] for p in pairs) for q in QUESTIONS) <= 3
    assert not {p["question"] for p in pairs} & {q["id"] for q in QUESTIONS[-2:]}
    assert context.result().counts.dropped.keys() >= {"too easy", "too hard"}


def test_it_stops_in_the_round_that_reaches_the_search_s_budget(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    use(bench, monkeypatch)
    a_round = 2 * 10 * 10
    spend(bench, 2 * a_round + 1)
    context = bench.context("rejection_pairs", INPUTS, **SECTION)
    rejection.run(context)
    report = json.loads((context.out / "rejection.json").read_text())
    assert report["decode_tokens"] == 3 * a_round
    assert context.result().counts.dropped["beyond the budget"] == len(QUESTIONS) - 6


def test_a_killed_stage_ends_with_the_same_pairs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    use(bench, monkeypatch)
    whole = bench.context("rejection_pairs", INPUTS, attempt="whole", **SECTION)
    rejection.run(whole)
    use(bench, monkeypatch, dies_at=3)
    with pytest.raises(KeyboardInterrupt):
        rejection.run(bench.context("rejection_pairs", INPUTS, attempt="killed", **SECTION))
    use(bench, monkeypatch)
    resumed = bench.context("rejection_pairs", INPUTS, attempt="resumed", previous=["killed"], **SECTION)
    rejection.run(resumed)
    assert digests(resumed) == digests(whole)
