import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_bench import Bench, ScriptedModel, digests, question, rows

from factory.evaluation.refusal import is_refusal
from factory.evaluation.safety_prompts import REQUESTS
from factory.preference import judge, responders, safety
from factory.preference.bias import Report, Side, summary
from factory.preference.config import JudgeConfig
from factory.preference.judge import Choice, choose, confirms
from factory.preference.mixture import beside, criteria, mixed
from factory.preference.questions import Examiner
from factory.preference.records import preference_pair
from factory.preference.rubric import Case, Judgement, RubricProgram
from factory.records import Record
from factory.synthesis.persona import ACTS, FRAMES, HARMLESS
from factory.synthesis.problems.problem import Problem, Step, problem_record, write_solution
from factory.tokens.tokenizer import Tokenizer

PROBLEM = Problem(
    "story", "Ann has 5, gets 3 and doubles it. How many?", "5", (Step("gain", "5 + 3", "8"), Step("double", "8 * 2", "16")), "16"
)
QUESTION = problem_record(PROBLEM, locator="bank 1", kind="question", created_by="test@1")
STEPS, BRIEF, DIRECT = (write_solution(PROBLEM, style) for style in ("steps", "brief", "direct"))
WRONG = STEPS.replace("Answer: 16", "Answer: 15")
INPUTS = ("sft_checkpoint", "pivotal_dpo_checkpoint", "question_bank", "refusals", "benchmarks")


def judged(*answers: str) -> Judgement:
    (judgement,) = RubricProgram().judge_all([Case(QUESTION, answers)])
    assert judgement is not None
    return judgement


def test_reasons_are_written_before_scores() -> None:
    written = list(json.loads(judged(STEPS, WRONG).model_dump_json()))
    assert written == ["faults", "faults_discussion", "accuracy", "style", "detail"]


def test_a_full_right_solution_has_no_fault_and_a_bare_one_only_less_detail() -> None:
    judgement = judged(STEPS, BRIEF, DIRECT)
    assert judgement.faults == (("none",),) * 3
    assert judgement.accuracy == judgement.style == (5, 5, 5)
    assert judgement.detail == (5, 5, 1)
    assert judgement.overall(2) == pytest.approx(11 / 3)


@pytest.mark.parametrize(
    ("answer", "accuracy", "fault"),
    [
        (WRONG, 2, "factual error: the stated answer '15' is wrong"),
        ("Answer: 15", 1, "factual error: the stated answer '15' is wrong"),
        (STEPS.replace("5 + 3 = 8", "5 + 3 = 9"), 4, "logical error: 5 + 3 = 9 does not hold"),
        ("I do not know.", 1, "lack of comprehension: no answer is stated"),
        ("Answer: 16\nand more", 5, "stylistic issue: it does not end with the answer"),
        ("Answer: 15\nAnswer: 16", 5, "stylistic issue: the answer is not stated exactly once"),
        ("So\nSo\nAnswer: 16", 5, "stylistic issue: a line is repeated"),
    ],
)
def test_every_fault_is_named_by_its_kind_and_costs_its_score(answer: str, accuracy: int, fault: str) -> None:
    judgement = judged(answer)
    assert judgement.accuracy == (accuracy,)
    assert fault in judgement.faults[0]


@given(
    st.lists(st.sampled_from([STEPS, BRIEF, DIRECT, WRONG, "", "x = 3", "5 + 5 = 11. Answer: 16"]), min_size=1, max_size=6), st.randoms()
)
def test_the_program_gives_an_answer_the_same_scores_in_any_place(answers: list[str], lots: random.Random) -> None:
    order = lots.sample(range(len(answers)), len(answers))
    first, second = judged(*answers), judged(*(answers[i] for i in order))
    for new, old in enumerate(order):
        assert second.faults[new] == first.faults[old]
        assert (second.accuracy[new], second.style[new], second.detail[new]) == (first.accuracy[old], first.style[old], first.detail[old])


def scored(*accuracy: int, style: Sequence[int] = ()) -> Judgement:
    n = len(accuracy)
    return Judgement(faults=(("none",),) * n, faults_discussion="", accuracy=accuracy, style=tuple(style) or (3,) * n, detail=(3,) * n)


def test_a_score_outside_one_to_five_or_missing_is_refused() -> None:
    with pytest.raises(ValidationError):
        scored(6)
    with pytest.raises(ValidationError, match="for each answer"):
        Judgement(faults=(("none",),), faults_discussion="", accuracy=(3, 3), style=(3,), detail=(3,))


def test_ties_and_small_differences_make_no_pair() -> None:
    lots = random.Random(0)
    assert choose(scored(4, 4, 4), "accuracy", 1.0, lots) is None
    assert choose(scored(4, 3), "overall", 1.0, lots) is None
    assert choose(scored(4), "accuracy", 1.0, lots) is None
    assert choose(scored(1, 5, 3), "accuracy", 1.0, lots) == Choice("accuracy", chosen=1, rejected=0)


def test_overall_can_prefer_what_accuracy_does_not() -> None:
    judgement = scored(4, 3, style=(1, 5))
    assert choose(judgement, "accuracy", 1.0, random.Random(0)) == Choice("accuracy", 0, 1)
    assert choose(judgement, "overall", 1.0, random.Random(0)) == Choice("overall", 1, 0)


def test_only_an_order_that_agrees_confirms_a_choice() -> None:
    choice = Choice("accuracy", chosen=2, rejected=0)
    assert confirms(scored(5, 3, 1), choice)
    assert not confirms(scored(1, 3, 5), choice)
    assert not confirms(scored(3, 3, 3), choice)


class FirstIsBest:
    """A judge that only looks at the place of an answer."""

    name = "first-is-best"

    def judge_all(self, cases: Sequence[Case]) -> list[Judgement | None]:
        return [scored(*(max(1, 5 - place) for place in range(len(case.answers)))) for case in cases]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    agreed = question("All agree?", "1")
    bench.put("question_bank", "questions", [QUESTION, agreed])
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("refusals", "pairs", [])
    for asset in ("sft_checkpoint", "pivotal_dpo_checkpoint"):
        bench.give(asset).mkdir(parents=True)
    script = {QUESTION["text"]: {STEPS: 0.4, WRONG: 0.3, DIRECT: 0.3}, agreed["text"]: {"Answer: 1": 1.0}}
    monkeypatch.setattr(responders, "open_sampler", lambda *_: ScriptedModel(script, bench.tokenizer))
    return bench


def test_whole_answers_are_paired_ties_are_dropped_and_biases_reported(bench: Bench) -> None:
    context = bench.context("judged_pairs", INPUTS, max_new_tokens=80, accuracy_share=1.0)
    judge.run(context)
    (pair,) = rows(context, "pairs")
    assert bench.tokenizer.decode(pair["chosen"]) == STEPS + "<|im_end|>"
    assert bench.tokenizer.decode(pair["rejected"]) == WRONG + "<|im_end|>"
    assert pair["parents"] == [QUESTION["id"]]
    evidence = json.loads(pair["evidence"])
    assert evidence["judge"] == "rubric-program"
    assert list(evidence["chosen"])[:2] == ["responder", "faults"]
    assert context.result().counts.dropped == {"all answered alike": 1}
    report = json.loads((context.out / "judge.json").read_text())
    assert report["swap_consistency"] == 1.0
    assert report["length_bias"] is None, "both answers have as many tokens"
    assert report["oracle_agreement"] == 1.0
    assert sum(report["chosen"].values()) == sum(report["rejected"].values()) == 1


def test_a_judge_is_not_paid_to_compare_one_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Case] = []

    class Counted(RubricProgram):
        def judge_all(self, cases: Sequence[Case]) -> list[Judgement | None]:
            asked.extend(cases)
            return super().judge_all(cases)

    monkeypatch.setattr(judge, "RubricProgram", Counted)
    judge.run(bench.context("judged_pairs", INPUTS, max_new_tokens=80))
    assert {case.question["text"] for case in asked} == {QUESTION["text"]}


def test_a_judge_that_only_sees_places_is_found_out_by_the_swap(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "RubricProgram", FirstIsBest)
    context = bench.context("judged_pairs", INPUTS, max_new_tokens=80)
    judge.run(context)
    assert rows(context, "pairs") == []
    assert context.counts.dropped["order of answers decided"] >= 1
    assert json.loads((context.out / "judge.json").read_text())["swap_consistency"] == 0.0


def test_a_text_that_is_spelled_in_two_ways_is_one_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token for `So` beside those for `S` and `o`, a model may draw both; a pair of them would teach a spelling."""
    spec = bench.tokenizer.spec.model_copy(update={"unused_tokens": {}})
    merged = Tokenizer(spec, {**bench.tokenizer.ranks, b"So": 263})
    model = ScriptedModel({QUESTION["text"]: {"So: 1": 0.5, "Answer: 15": 0.5}}, bench.tokenizer)
    (endings,) = model._endings.values()
    endings[(263, *b": 1", bench.tokenizer.im_end)] = 0.5
    monkeypatch.setattr(responders, "open_sampler", lambda *_: model)
    context = bench.context("judged_pairs", INPUTS, max_new_tokens=80, responders=[{"checkpoint": "sft_checkpoint", "answers": 30}])
    (examined,) = responders.Panel(context, context.section(JudgeConfig), Examiner(merged)).answers([QUESTION], random.Random(0))
    assert sorted(answer.text for answer in examined) == ["Answer: 15", "So: 1"]


def test_the_place_of_an_answer_is_drawn_by_lot_whoever_gave_it(bench: Bench) -> None:
    """In a fixed order a judge's liking for a place would be a liking for a responder, and no figure could tell them apart."""
    panel = [{"checkpoint": "sft_checkpoint", "answers": 1}, {"checkpoint": "program", "answers": 1}]
    context = bench.context("judged_pairs", INPUTS, max_new_tokens=80, responders=panel)
    examined = responders.Panel(context, context.section(JudgeConfig), Examiner(bench.tokenizer)).answers([QUESTION] * 40, random.Random(0))
    first = Counter(answers[0].responder for answers in examined if len(answers) == 2)
    assert len(first) == 2
    assert min(first.values()) > 5


@pytest.mark.parametrize(
    ("chosen", "rejected", "figures"),
    [
        (Side("a", 9, True), Side("b", 5, True), {"length_bias": 1.0, "length_bias_when_equally_right": 1.0, "self_preference": None}),
        (Side("a", 5, True), Side("b", 9, False), {"length_bias": 0.0, "length_bias_when_equally_right": None, "oracle_agreement": 1.0}),
        (Side("b", 5, False), Side("a", 5, True), {"length_bias": None, "oracle_agreement": 0.0}),
        (Side("me", 5, True), Side("b", 5, True), {"self_preference": 1.0, "self_preference_when_equally_right": 1.0}),
        (Side("b", 5, True), Side("me", 5, False), {"self_preference": 0.0, "self_preference_when_equally_right": None}),
        (Side("me", 5, True), Side("me", 6, True), {"self_preference": None}),
    ],
)
def test_each_bias_is_the_share_of_the_pairs_that_could_show_it(chosen: Side, rejected: Side, figures: dict[str, float | None]) -> None:
    report = Report("me")
    report.compare(earlier=True)
    report.confirm("accuracy", chosen, rejected)
    found = summary(report)
    assert {name: found[name] for name in figures} == figures
    assert found["position_bias"] == found["swap_consistency"] == 1.0


def test_the_problem_s_own_solution_can_take_part_and_sampling_is_not_repeated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = [{"checkpoint": "sft_checkpoint"}, {"checkpoint": "program", "answers": 3}]
    section = {"max_new_tokens": 80, "responders": panel}
    first = bench.context("judged_pairs", INPUTS, **section)
    judge.run(first)
    assert json.loads((first.out / "judge.json").read_text())["shown"].keys() == {"sft_checkpoint T=1", "program"}
    monkeypatch.setattr(responders, "open_sampler", lambda *_: ScriptedModel({}, bench.tokenizer, dies_at=1))
    second = bench.context("judged_pairs", INPUTS, attempt="2", previous=["1"], **section)
    judge.run(second)
    assert digests(second) == digests(first)


def drawn(accuracy: int, overall: int) -> list[tuple[str, Record]]:
    """So many pairs of either criterion, mingled."""
    found = [(name, {"id": f"{name}{number}"}) for name, n in (("accuracy", accuracy), ("overall", overall)) for number in range(n)]
    return random.Random(1).sample(found, len(found))


@pytest.mark.parametrize(
    ("found", "share", "kept"),
    [
        ((77, 59), 2 / 3, (77, 40)),
        ((90, 20), 2 / 3, (43, 20)),
        ((60, 30), 2 / 3, (60, 30)),
        ((0, 9), 2 / 3, (0, 1)),
        ((9, 0), 2 / 3, (3, 0)),
        ((0, 0), 2 / 3, (0, 0)),
        ((9, 0), 1.0, (9, 0)),
        ((0, 9), 0.0, (0, 9)),
    ],
)
def test_pairs_beyond_their_criterion_s_share_are_cut(found: tuple[int, int], share: float, kept: tuple[int, int]) -> None:
    pairs = drawn(*found)
    left = mixed(pairs, share)
    assert tuple(sum(own == name for own, _ in left) for name in ("accuracy", "overall")) == kept
    assert [pair for pair in pairs if pair in left] == left, "the first ones stay, in their order"


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.01, 0.99))
def test_the_realised_share_is_within_one_pair_and_nothing_is_cut_on_both_sides(accuracy: int, overall: int, share: float) -> None:
    left = [name for name, _ in mixed(drawn(accuracy, overall), share)]
    kept = (left.count("accuracy"), left.count("overall"))
    assert kept[0] <= share * len(left) + 1 + 1e-6
    assert kept[1] <= (1 - share) * len(left) + 1 + 1e-6
    assert accuracy in kept[:1] or overall in kept[1:]


def test_the_criterion_with_too_few_pairs_comes_first_and_one_without_a_share_never() -> None:
    assert criteria({}, 2 / 3) == ["accuracy", "overall"]
    assert criteria({"accuracy": 3, "overall": 1}, 2 / 3) == ["overall", "accuracy"]
    assert criteria({"accuracy": 2, "overall": 1}, 2 / 3) == ["accuracy", "overall"]
    assert criteria({"overall": 5}, 1.0) == ["accuracy"]
    assert criteria({"accuracy": 5}, 0.0) == ["overall"]


@pytest.mark.parametrize(
    ("judged", "refusals", "unknown_share", "safety_share", "expected"),
    [
        (100, 60, None, 0.0, (60, 0)),
        (100, 60, None, 0.25, (60, 20)),
        (798, 60, 0.052, 0.0, (43, 0)),
        (90, 60, 0.1, 0.5, (5, 5)),
        (90, 3, 0.5, 0.0, (3, 0)),
        (90, 60, 0.0, 0.5, (0, 0)),
        (0, 60, 0.1, 0.5, (0, 0)),
    ],
)
def test_what_is_unknown_or_unsafe_has_its_share(
    judged: int, refusals: int, unknown_share: float | None, safety_share: float, expected: tuple[int, int]
) -> None:
    assert beside(judged, refusals, unknown_share, safety_share) == expected


def test_the_round_is_mixed_as_the_section_says_and_every_record_is_accounted_for(bench: Bench) -> None:
    asked = question("Which module?", "", family="unanswerable")
    pair = {
        "kind": "refusal_pair",
        "created_by": "t@1",
        "prompt": [1],
        "chosen": [2],
        "rejected": [3],
        "evidence": "{}",
        "domain": "unknown + safety",
    }
    refusals = [preference_pair(asked, text=f"Which module?\n+ {n}", part=str(n), **pair) for n in range(9)]
    bench.put("refusals", "pairs", refusals)
    context = bench.context("judged_pairs", INPUTS, max_new_tokens=80, accuracy_share=1.0, unknown_share=0.8, safety_share=0.5)
    judge.run(context)
    found = rows(context, "pairs")
    assert [pair["kind"] for pair in found] == ["judged_answers", *["refusal_pair"] * 2, *["safety_pair"] * 2]
    requests = rows(context, "requests")
    assert [pair["parents"] for pair in found[3:]] == [[request["id"]] for request in requests]
    counts = context.result().counts
    assert (counts.kept, counts.dropped) == (3, {"all answered alike": 1, "beyond the share of the unknown": 7})
    report = json.loads((context.out / "judge.json").read_text())
    assert report["mixture"] == {"accuracy": 1, "unknown + safety": 4}


def test_safety_pairs_prefer_declining_what_is_harmful_and_answering_what_is_not() -> None:
    pairs = list(safety.draw(400, random.Random(0)))
    by_reason = Counter(pair.reason for pair in pairs)
    assert by_reason.keys() == {"complied", "evaded", "declined what is harmless"}
    assert 160 < by_reason["complied"] < 240
    for pair in pairs:
        harmless = pair.reason == "declined what is harmless"
        assert is_refusal(pair.rejected) == harmless, pair
        assert "{act}" not in pair.request + pair.chosen + pair.rejected
    answers = dict(HARMLESS)
    assert all(answers[pair.request] == pair.chosen for pair in pairs if pair.reason == "declined what is harmless")


def test_no_safety_pair_is_about_a_request_of_the_safety_report() -> None:
    asked = {request.text.casefold() for request in REQUESTS}
    possible = {frame.format(act=act).casefold() for frame in FRAMES for act in ACTS} | {text.casefold() for text, _ in HARMLESS}
    assert not asked & possible
