import json
from math import log

import evaluated_checkpoints as made
import pytest

from factory.errors import SeedmillError
from factory.evaluation import arms, matched
from factory.evaluation.config import ArmsConfig
from factory.evaluation.records import ANSWER, Reply, answer_record
from factory.evaluation.scores import score, three_way

ARMS = ("sft_checkpoint", "pivotal_dpo_checkpoint", "judged_dpo_checkpoint", "rejection_dpo_checkpoint")
CONFIG = ArmsConfig(arms=ARMS, matched=("pivotal_dpo_checkpoint",))
QUESTIONS = [{"id": f"q{i:03d}", "license": "x", "language": "en"} for i in range(100)]


def answers(right, mode, kind="benchmark_answer"):
    columns = {"family": "f", "style": "steps"}
    return [
        answer_record(question, Reply("x", 7, True), checkpoint="c", mode=mode, kind=kind, correct=i < right, **columns)
        for i, question in enumerate(QUESTIONS)
    ]


def evaluation(folder, name, greedy, sampled, incorrect):
    rows = {"greedy": answers(greedy, "greedy"), "sampled": answers(sampled, "sampled")}
    trivia = answers(0, "greedy", "trivia_answer")
    out = made.write_records(folder / name, name, answers=([*rows["greedy"], *rows["sampled"], *trivia], ANSWER))
    verdicts = ["incorrect"] * incorrect + ["not attempted"] * (100 - incorrect)
    scores = {mode: score(found) for mode, found in rows.items()} | {"trivia": {"families": {"unanswerable": three_way(verdicts)}}}
    (out / "scores.json").write_text(json.dumps(scores))
    return out


def report(folder):
    figures = {"sft_checkpoint": (90, 60, 5), "pivotal_dpo_checkpoint": (91, 80, 6), "rejection_dpo_checkpoint": (90, 75, 6)}
    figures["judged_dpo_checkpoint"] = (80, 95, 7)
    figures["sft_without_refusals_checkpoint"] = (90, 60, 100)
    inputs = {f"evaluation/{name}": evaluation(folder, name, *found) for name, found in figures.items()}
    sampled = answers(70, "sampled")
    inputs["matched_evaluation/pivotal_dpo_checkpoint"] = out = made.write_records(folder / "m", "m", answers=(sampled, ANSWER))
    (out / "scores.json").write_text(json.dumps({"temperature": 0.7, "entropy": 2.0, "target": 2.1, "sampled": score(sampled)}))
    context = made.stage(folder / "report", "ablation_report", CONFIG.model_dump(mode="json"), inputs)
    arms.run(context)
    return context.result(), json.loads((context.out / "arms.json").read_text())


def test_every_arm_is_set_beside_the_sft_model_and_the_control(tmp_path):
    result, found = report(tmp_path)
    rows = {row["arm"]: row for row in found["arms"]}
    assert "change" not in rows["sft_checkpoint"]
    assert rows["pivotal_dpo_checkpoint"]["change"]["sampled"]["verdict"] == "rose"
    assert rows["pivotal_dpo_checkpoint"]["change"]["greedy"]["verdict"] == "no significant change"
    assert rows["pivotal_dpo_checkpoint"]["against_control"]["sampled"]["gained"] == 5
    assert rows["pivotal_dpo_checkpoint"]["sampled"]["styles"] == {"steps": 1.0}
    assert rows["judged_dpo_checkpoint"]["change"]["sampled"]["gained"] == 35
    of_round = rows["judged_dpo_checkpoint"]["change_of_its_round"]
    assert (of_round["sampled"]["gained"], of_round["greedy"]["verdict"]) == (15, "fell")
    assert not [name for name in rows if name != "judged_dpo_checkpoint" and "change_of_its_round" in rows[name]]
    lower = rows["sft_checkpoint as certain as pivotal_dpo_checkpoint"]
    assert (lower["temperature"], lower["sampled"]["correct"], lower["beaten_by"]["gained"]) == (0.7, 70, 10)
    # 4 arms x 2 modes x 100 problems, one matched arm, and the trivia of all four and of the arm without refusals.
    assert result.counts.kept == 800 + 100 + 500


def test_the_report_shows_what_refusals_change_on_questions_without_an_answer(tmp_path):
    _, found = report(tmp_path)
    shares = {name: asked["unanswerable"]["incorrect"]["accuracy"] for name, asked in found["trivia"].items()}
    assert (shares["sft_without_refusals_checkpoint"], shares["sft_checkpoint"]) == (1.0, 0.05)


@pytest.mark.parametrize("target", [0.3, 1.0, 2.5])
def test_the_temperature_is_found_at_which_the_entropies_agree(target):
    # The entropy of a two-way choice grows with the temperature; here simply its logarithm's scale.
    found = matched.matching(lambda temperature: 3 * log(1 + temperature), target, 2.0, 12)
    assert 3 * log(1 + found) == pytest.approx(target, abs=0.01)


def test_a_checkpoint_less_certain_than_the_sft_model_is_matched_at_its_own_temperature():
    assert matched.matching(lambda temperature: temperature, 5.0, 1.0, 8) == 1.0


@pytest.mark.parametrize("sharpness", [1.0, 1.6])
def test_the_matched_temperature_undoes_a_sharpening_of_the_same_model(
    tmp_path, tokenizer_folder, tokenizer, checkpoint, held_out, problems, sharpness
):
    later = made.make_checkpoint(tmp_path / "later", tokenizer.vocab_size, sharpness=sharpness)
    inputs = {"tokenizer": tokenizer_folder, "sft_checkpoint": checkpoint, "pivotal_dpo_checkpoint": later, "benchmarks": held_out}
    section = {"checkpoint": "pivotal_dpo_checkpoint", "max_new_tokens": 8, "probes": 20, "sampling": {"dtype": "float32"}}
    context = made.stage(tmp_path, "matched_evaluation/pivotal_dpo_checkpoint", section, inputs)
    matched.run(context)
    context.result()
    scores = json.loads((context.out / "scores.json").read_text())
    assert scores["temperature"] == pytest.approx(1 / sharpness, abs=0.01)
    assert scores["entropy"] == pytest.approx(scores["target"], rel=0.05)
    assert scores["sampled"]["n"] == context.counts.made["answer"] == len(problems)


def test_a_model_with_room_for_no_problem_is_one_clear_error(tmp_path, tokenizer_folder, checkpoint, held_out):
    later = made.make_checkpoint(tmp_path / "later", 512)
    inputs = {"tokenizer": tokenizer_folder, "sft_checkpoint": checkpoint, "pivotal_dpo_checkpoint": later, "benchmarks": held_out}
    section = {"checkpoint": "pivotal_dpo_checkpoint", "max_new_tokens": 10**6, "probes": 20, "sampling": {"dtype": "float32"}}
    context = made.stage(tmp_path, "matched_evaluation/pivotal_dpo_checkpoint", section, inputs)
    with pytest.raises(SeedmillError, match="pivotal_dpo_checkpoint@v1 has no room for any of 20 problems and 1000000 new tokens"):
        matched.run(context)
