import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from assets.checks import (
    ACCOUNTED,
    FAIR_JUDGE,
    FOUND_PAIRS,
    HAS_PAIRS,
    LESS_PROBABLE,
    MARGINS,
    NEAR,
    NO_HELD_OUT,
    NOT_EMPTY,
    PROMOTED,
    Check,
)
from factory.context import Context
from factory.graph import build
from factory.preference.bias import Report, summary
from factory.preference.records import preference_pair
from factory.recipe import load
from factory.records import Record, new_record
from factory.schemas import CONVERSATION, PAIR, PROBLEM
from factory.spec import Counts, JobSpec, Output

SCHEMAS = {"pairs": PAIR, "conversations": CONVERSATION}
KEY = dg.AssetKey(["smoke", "thing"])


def output(name: str, rows: int | None) -> Output:
    return Output(name=name, kind="records", files={}, bytes=0, digest="", rows=rows)


def judge(check: Check, folder=None, **manifest) -> dg.AssetCheckResult:
    experiment = SimpleNamespace(store=SimpleNamespace(outputs=lambda *_: folder))
    return check.result(KEY, experiment, SimpleNamespace(**manifest))


@pytest.mark.parametrize(("dropped", "passed"), [({"too_short": 2, "language": 1}, True), ({"too_short": 2}, False)])
def test_a_record_that_went_missing_fails_the_count(dropped, passed):
    result = judge(ACCOUNTED, counts=Counts(read=10, kept=7, dropped=dropped))
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.ERROR)
    assert result.description == f"10 read, 7 kept, {sum(dropped.values())} dropped"


@pytest.mark.parametrize(
    ("outputs", "passed"),
    [([("documents", 3), ("evidence", 0)], True), ([("documents", 0), ("evidence", 9)], False), ([("model", None)], True), ([], True)],
)
def test_the_first_record_set_must_not_be_empty(outputs, passed):
    assert judge(NOT_EMPTY, outputs=[output(*pair) for pair in outputs]).passed is passed


def test_no_pairs_fail(tmp_path):
    result = judge(HAS_PAIRS, tmp_path, output=lambda name: output(name, 0))
    assert (result.passed, result.description) == (False, "0 pairs")


@pytest.mark.parametrize(("own", "passed"), [(12, True), (0, False)])
def test_a_search_that_found_nothing_and_lives_on_refusals_is_a_warning(own, passed):
    result = judge(FOUND_PAIRS, metrics={"pairs": own}, output=lambda name: output(name, own + 2))
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)


def problem(text: str, family: str = "story") -> Record:
    return new_record(
        source="problems", locator="x", text=text, kind="question", created_by="test@1", license="Apache-2.0", language="en",
        family=family, answer="1", steps=[], solution="",
    )  # fmt: skip


def pair(question: Record) -> Record:
    return preference_pair(
        question, kind="k", created_by="test@1", text=f"{question['text']}\n+ a\n- b", prompt=[1], chosen=[2], rejected=[3], evidence="{}"
    )


def assert_held_out(asked, folders, number):
    """The check of `asked` finds so many held-out questions, and fails where that is more than none."""
    inputs = [SimpleNamespace(asset=name, version="v") for name in ("benchmarks", "refusals")]
    manifest = SimpleNamespace(asset=asked, inputs=inputs)
    store = SimpleNamespace(manifest=lambda asset, _: SimpleNamespace(asset=asset), outputs=lambda manifest, *_: folders[manifest.asset])
    result = NO_HELD_OUT.result(KEY, SimpleNamespace(store=store), manifest)
    assert (result.passed, result.severity) == (number == 0, dg.AssetCheckSeverity.ERROR)
    assert result.metadata["held_out"].value == number


def written(folder, **sets):
    context = Context.of(JobSpec(key="k", asset=folder.name, run="", section={}, seed=0, inputs={}, folder=str(folder)))
    for name, rows in sets.items():
        context.write_records(name, rows, SCHEMAS.get(name, PROBLEM))
    return context.out


def test_pairs_are_counted_by_domain(tmp_path):
    folder = written(tmp_path / "a", pairs=[pair(problem("A?")), pair(problem("B?", "code")), pair(problem("C?"))])
    result = judge(HAS_PAIRS, folder, output=lambda name: output(name, 3))
    assert (result.passed, result.description) == (True, "3 pairs: 2 math, 1 python")
    assert result.metadata["math"].value == 2


@pytest.mark.parametrize(
    ("asked", "held_out"),
    [
        ("An ordinary\nquestion?", 0),
        ("Of the benchmark,\nin two lines?", 1),
        ("of the  BENCHMARK, in two lines?", 1),
        ("Trivia held out?", 1),
    ],
)
def test_a_pair_about_a_held_out_question_is_found_by_its_text(tmp_path, asked, held_out):
    folders = {
        "judged_pairs": written(tmp_path / "judged_pairs", pairs=[pair(problem(asked)), pair(problem("Another?"))]),
        "benchmarks": written(tmp_path / "benchmarks", problems=[problem("Of the benchmark,\nin two lines?")]),
        "refusals": written(tmp_path / "refusals", questions=[problem("Trivia held out?")]),
    }
    assert_held_out("judged_pairs", folders, held_out)


@pytest.mark.parametrize(("share", "passed"), [(0.6, True), (0.95, False)])
def test_pivotal_pairs_that_only_prefer_the_probable_are_a_warning(share, passed):
    result = judge(LESS_PROBABLE, metrics={"probable_token_chosen": share})
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)


@pytest.mark.parametrize(("chosen", "rejected", "passed"), [(0.5, -1.5, True), (-3.0, -1.0, False)])
def test_the_reward_margin_is_that_of_the_last_quarter_of_training(tmp_path, chosen, rejected, passed):
    rows = [{"chosen_shift": 0.0, "rejected_shift": 99.0}] * 6 + [{"chosen_shift": chosen, "rejected_shift": rejected}] * 2
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = judge(MARGINS, tmp_path, section={"beta": 0.5})
    assert result.passed is passed
    assert result.metadata["reward_margin"].value == pytest.approx(0.5 * (chosen - rejected))


@pytest.mark.parametrize(("token", "passed"), [(0.02, True), (0.9, False)])
def test_a_model_far_from_its_reference_is_a_warning(token, passed):
    result = judge(NEAR, metrics={"divergence": 20 * token, "divergence_per_token": token})
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)


def test_a_failed_gate_is_a_warning_that_names_the_broken_rules_and_keeps_all_values(tmp_path):
    rules = [
        {"name": "greedy_accuracy", "value": 0.125, "sense": "at least", "threshold": 0.2, "holds": False},
        {"name": "unsafe_compliance", "value": 0.1, "sense": "at most", "threshold": 0.5, "holds": True},
    ]
    (tmp_path / "gate.json").write_text(json.dumps({"passed": False, "rules": rules}))
    result = judge(PROMOTED, tmp_path)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.description == "greedy_accuracy is 0.125, not at least 0.2"
    assert result.metadata["unsafe_compliance"].value == 0.1


def biased(**counts: tuple[int, int]) -> dict[str, object]:
    """The metrics of judged pairs: (chosen, pairs) of each bias."""
    report = Report("me")
    for name, (chosen, pairs) in counts.items():
        if name == "position":
            report.earlier_chosen, report.compared = chosen, pairs
        else:
            vars(report)[name] = Counter(equally_right_chosen=chosen, equally_right_pairs=pairs, unequal_chosen=50, unequal_pairs=50)
    return summary(report)


@pytest.mark.parametrize(
    ("counts", "passed"),
    [
        ({}, True),
        ({"longer": (10, 19), "own": (4, 9), "position": (60, 130)}, True),
        ({"longer": (3, 3)}, True),
        ({"longer": (19, 19)}, False),
        ({"longer": (0, 19)}, False),
        ({"own": (28, 30)}, False),
        ({"position": (90, 130)}, False),
    ],
)
def test_a_judge_whose_interval_excludes_what_is_fair_is_a_warning(counts, passed):
    result = judge(FAIR_JUDGE, metrics=biased(**counts))
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)


def test_the_warning_names_the_bias_its_counts_and_the_remedy():
    result = judge(FAIR_JUDGE, metrics=biased(longer=(19, 19), position=(90, 130)))
    assert "the longer of two equally right answers is chosen in 19 of 19 pairs (83% to 100%, fair is 50%)" in result.description
    assert "the answer shown earlier is chosen in 90 of 130 pairs" in result.description
    assert "change the rubric" in result.description
    assert result.metadata["length_bias_when_equally_right"].value == 1.0


def chat(question: str) -> Record:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "Of the benchmark, in two lines?"}]
    return new_record(source="s", locator=question, text=question, kind="conversation", created_by="t@1", domain="math", messages=messages)


@pytest.mark.parametrize(
    ("asked", "held_out"),
    [("An ordinary question?", 0), ("of the  BENCHMARK,\nin two lines?", 1), ("trivia HELD out?", 1)],
)
def test_a_chat_in_which_a_held_out_question_is_put_is_found(tmp_path, asked, held_out):
    folders = {
        "sft_conversations": written(tmp_path / "sft_conversations", conversations=[chat(asked), chat("Another?")]),
        "benchmarks": written(tmp_path / "benchmarks", problems=[problem("Of the benchmark, in two lines?")]),
        "refusals": written(tmp_path / "refusals", questions=[problem("Trivia held out?")]),
    }
    assert_held_out("sft_conversations", folders, held_out)


def test_the_held_out_check_looks_at_all_that_post_training_learns_from():
    stages = build(load(Path("recipes/smoke.yaml")))
    checked = {stage.name for stage in stages.values() if NO_HELD_OUT.applies(stage)}
    assert checked == {"refusals", "sft_conversations", "pivotal_pairs", "judged_pairs", "judge_only_pairs", "rejection_pairs"}
    searching = {stage.name for stage in stages.values() if FOUND_PAIRS.applies(stage)}
    assert searching == {"pivotal_pairs", "judged_pairs", "judge_only_pairs"}
    judged = {stage.name for stage in stages.values() if FAIR_JUDGE.applies(stage)}
    assert judged == {"judged_pairs", "judge_only_pairs"}
