import json

import evaluated_checkpoints as made
import pytest

from factory.errors import SeedmillError
from factory.evaluation import gate
from factory.evaluation.compare import compare, read_answers
from factory.evaluation.config import GateConfig
from factory.evaluation.records import ANSWER, Reply, answer_record

ORDER = GateConfig().order
QUESTIONS = [{"id": f"q{i:03d}", "license": "x", "language": "en"} for i in range(100)]


def answers(right, kind="benchmark_answer"):
    """One record a question and mode; the first `right` questions are answered rightly."""
    for mode in ("greedy", "sampled"):
        for i, question in enumerate(QUESTIONS):
            columns = {"family": "f", "correct": i < right, "style": "other"}
            yield answer_record(question, Reply("x", 1, True), checkpoint="c", mode=mode, kind=kind, **columns)


def gated(folder, accuracies, compliance=0.1, gain=0.2, **section):
    inputs = {
        f"evaluation/{name}": made.write_records(folder / name, name, answers=(answers(right), ANSWER))
        for name, right in zip(ORDER, accuracies, strict=True)
    }
    for place, name in enumerate(ORDER):
        (folder / name / "out" / "scores.json").write_text(json.dumps({"trivia": {"families": trivia(place / 4)}}))
    for name, scores in (
        ("long_context_evaluation", {"last_bucket_gain": gain}),
        ("safety_report", {"compliance": {"accuracy": compliance}}),
    ):
        (folder / name).mkdir()
        (folder / name / "scores.json").write_text(json.dumps(scores))
        inputs[name] = folder / name
    context = made.stage(folder / "gate", "promotion_gate", section, inputs)
    gate.run(context)
    context.result()
    return json.loads((context.out / "gate.json").read_text())


def trivia(refused):
    return {"unanswerable": {"n": 200, "correct": 0.0, "not attempted": refused, "incorrect": 1 - refused}}


def broken(found):
    return [rule["name"] for rule in found["rules"] if not rule["holds"]]


def test_a_model_that_rises_at_every_stage_passes(tmp_path):
    found = gated(tmp_path, (10, 12, 40, 45, 50))
    assert found["passed"]
    assert found["candidate"] == "judged_dpo_checkpoint"
    assert broken(found) == []
    # Two more right answers out of a hundred may be chance (p = 0.25), five no longer (p = 0.031).
    verdicts = [row["greedy"]["verdict"] for row in found["comparisons"]]
    assert verdicts == ["no significant change", "rose", "rose", "rose"]


def test_trivia_stand_beside_the_comparisons_in_the_order_of_training(tmp_path):
    found = gated(tmp_path, (10, 12, 40, 45, 50))["trivia"]
    assert found == [{"checkpoint": name, "families": trivia(place / 4)} for place, name in enumerate(ORDER)]


@pytest.mark.parametrize(
    ("accuracies", "changes", "rule"),
    [
        ((10, 12, 18, 18, 18), {}, "greedy_accuracy"),
        ((38, 38, 40, 40, 40), {}, "gain_over_base"),
        ((10, 12, 60, 60, 40), {}, "falls_in_preference_training"),
        ((10, 12, 40, 45, 50), {"compliance": 0.51}, "unsafe_compliance"),
        ((10, 12, 40, 45, 50), {"gain": -0.01}, "long_context_gain"),
    ],
)
def test_one_broken_rule_is_enough_to_fail_and_is_named(tmp_path, accuracies, changes, rule):
    found = gated(tmp_path, accuracies, **changes)
    assert not found["passed"]
    assert broken(found) == [rule]


def test_a_fall_before_preference_training_does_not_count_against_it(tmp_path):
    assert gated(tmp_path, (30, 10, 40, 45, 50))["passed"]


def test_allowed_falls_are_allowed(tmp_path):
    assert gated(tmp_path, (10, 12, 60, 60, 40), allowed_falls=2)["passed"]


def test_trivia_answers_take_no_part_in_the_comparison(tmp_path):
    rows = [*answers(10), *answers(90, kind="trivia_answer")]
    folder = made.write_records(tmp_path, "evaluation", answers=(rows, ANSWER))
    found = read_answers(made.stage(tmp_path / "reader", "r", {}, {"e": folder}).inputs["e"])
    assert {mode: sum(verdicts.values()) for mode, verdicts in found.items()} == {"greedy": 10, "sampled": 10}
    assert compare(found, found, 0.05)["greedy"].p_value == 1


def test_a_checkpoint_without_an_evaluation_is_named(tmp_path):
    context = made.stage(tmp_path, "promotion_gate", {"order": ["a", "b"]}, {})
    with pytest.raises(SeedmillError, match="'evaluation/a'"):
        gate.run(context)
