import json
import struct
from types import SimpleNamespace

import pytest

from factory import figures
from factory.spec import Counts


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def manifest(**fields) -> SimpleNamespace:
    return SimpleNamespace(**{"counts": Counts(), "metrics": {}, **fields})


@pytest.mark.parametrize("draw", [figures.drops, figures.languages, figures.quality, figures.speed])
def test_a_manifest_without_figures_has_no_picture(draw):
    assert draw(manifest()) is None


@pytest.mark.parametrize(
    "draw",
    [
        figures.mixture,
        figures.loss,
        figures.gradients,
        figures.families,
        figures.by_stage,
        figures.arms,
        figures.long_context,
        figures.trivia,
    ],
)
def test_a_folder_without_figures_has_no_picture(draw, tmp_path):
    assert draw(tmp_path) is None


def test_drops_show_every_reason():
    few = manifest(counts=Counts(read=12, kept=7, dropped={"too_short": 5}))
    more = manifest(counts=Counts(read=19, kept=7, dropped={"too_short": 5, "language": 7}))
    assert size(figures.drops(few)) == (504, 288)
    assert figures.drops(few) != figures.drops(more)


def test_the_same_figures_give_the_same_picture():
    histogram = manifest(metrics={"language_histogram": {"en": 120, "de": 3}})
    assert figures.languages(histogram) == figures.languages(histogram)


def test_quality_is_drawn_from_edges_and_counts():
    histogram = manifest(metrics={"quality_histogram": {"edges": [0, 0.5, 1], "counts": [3, 9]}})
    assert size(figures.quality(histogram))


def test_a_mixture_shows_seen_and_unique_tokens(tmp_path):
    row = {"name": "web", "allocated": 900, "tokens": 300, "epochs": 3.0}
    (tmp_path / "blend.json").write_text(json.dumps({"clusters": [row, {**row, "name": "code"}]}))
    assert size(figures.mixture(tmp_path))


def test_preference_training_shows_its_accuracy_beside_its_loss(tmp_path):
    rows = [{"step": step, "loss": 1 / step, "grad_norm": float("nan")} for step in (1, 2, 3)]
    pictures = []
    for extra in ({}, {"accuracy": 0.7}):
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row | extra) + "\n" for row in rows))
        pictures.append(figures.loss(tmp_path))
    assert size(pictures[0]) == size(pictures[1])
    assert pictures[0] != pictures[1]


def test_gradients_and_speed_are_drawn_though_a_step_was_skipped(tmp_path):
    rows = [{"step": step, "lr": 1e-3, "grad_norm": norm} for step, norm in ((1, 2.0), (2, None), (3, 0.5))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert size(figures.gradients(tmp_path))
    assert size(figures.speed(manifest(metrics={"speed": [[1, 900.0], [2, 1100.5]]})))


def test_accuracies_are_drawn_with_their_intervals(tmp_path):
    row = {"accuracy": 0.5, "low": 0.4, "high": 0.6}
    (tmp_path / "scores.json").write_text(json.dumps({"greedy": {**row, "families": {"sums": row}}}))
    narrow = figures.families(tmp_path)
    (tmp_path / "scores.json").write_text(json.dumps({"greedy": {**row, "low": 0.1, "families": {"sums": row}}}))
    assert size(narrow)
    assert figures.families(tmp_path) != narrow


def test_the_gate_shows_every_checkpoint_once_in_the_order_of_training(tmp_path, monkeypatch):
    changes = [("pretrained_checkpoint", 0.1, "sft_checkpoint", 0.5), ("sft_checkpoint", 0.5, "judged_dpo_checkpoint", 0.6)]
    rows = [{"before": a, "after": b, "greedy": {"before": x, "after": y, "n": 100}} for a, x, b, y in changes]
    (tmp_path / "gate.json").write_text(json.dumps({"passed": True, "comparisons": rows}))
    drawn = []
    monkeypatch.setattr(figures, "accuracy", drawn.extend)
    figures.by_stage(tmp_path)
    assert [(label, rate) for label, rate, _, _ in drawn] == [("pretrained", 0.1), ("sft", 0.5), ("judged_dpo", 0.6)]
    assert all(low < rate < high for _, rate, low, high in drawn)


def test_long_context_is_a_line_for_each_checkpoint(tmp_path):
    buckets = [{"from": 0, "to": 128, "mean": 3.0, "standard_error": 0.1}, {"from": 128, "to": 256, "mean": 2.5, "standard_error": 0.2}]
    pictures = []
    for names in (["pretrained_checkpoint"], ["pretrained_checkpoint", "midtrained_checkpoint"]):
        (tmp_path / "scores.json").write_text(json.dumps({"checkpoints": {name: {"loss": buckets} for name in names}}))
        pictures.append(figures.long_context(tmp_path))
    assert size(pictures[0]) == size(pictures[1])
    assert pictures[0] != pictures[1]


def test_trivia_is_a_bar_for_each_kind_of_question_of_one_checkpoint_or_of_all(tmp_path, monkeypatch):
    honest = {"n": 200, "correct": 0.0, "not attempted": 0.9, "incorrect": 0.1}
    families = {"answerable": {"n": 200, "correct": 0.5, "not attempted": 0.5, "incorrect": 0.0}, "unanswerable": honest}
    (tmp_path / "scores.json").write_text(json.dumps({"trivia": {"families": families}}))
    assert size(figures.trivia(tmp_path))
    (tmp_path / "scores.json").unlink()
    of_all = [{"checkpoint": name, "families": families} for name in ("pretrained_checkpoint", "sft_checkpoint")]
    (tmp_path / "gate.json").write_text(json.dumps({"trivia": of_all}))
    assert size(figures.trivia(tmp_path))
    drawn = []
    monkeypatch.setattr(figures, "_three_way", drawn.extend)
    figures.trivia(tmp_path)
    assert [label for label, _ in drawn] == [f"{stage} {kind}" for kind in families for stage in ("pretrained", "sft")]
