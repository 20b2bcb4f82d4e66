"""Questions of one's own in a recipe: the assets they become, what they make stale, and what is refused before anything runs."""

from pathlib import Path

import pytest
import yaml

from factory.errors import SeedmillError
from factory.graph import build, curation, preference, synthesis
from factory.recipe import load

SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke.yaml"
MODEL = {"kind": "openai", "model": "m", "price_per_million_input": 0, "price_per_million_output": 0}


@pytest.fixture
def stages(tmp_path):
    def stages(questions, teacher=None, **sections):
        data = yaml.safe_load(SMOKE.read_text()) | {"questions": questions, **sections}
        if teacher:
            data["synthesis"]["teacher"] = teacher
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
        return build(load(tmp_path / "recipe.yaml"))

    return stages


def test_a_source_is_an_asset_of_the_bank_and_of_the_benchmarks_where_some_are_held_out(stages):
    found = stages({"gsm8k": {"path": "x", "domain": "math"}, "mmlu": {"path": "y", "domain": "multiple choice", "held_out": 0.1}})
    assert found["questions/gsm8k"].group == "curation"
    assert found["question_bank"].inputs == ("benchmarks", "questions/gsm8k", "questions/mmlu")
    assert found["benchmarks"].inputs == ("questions/mmlu",)
    assert found["question_bank"].section.decontamination is not None


def test_a_recipe_without_them_has_the_bank_that_it_had(stages):
    before, after = build(load(SMOKE))["question_bank"], stages({})["question_bank"]
    assert (before.inputs, before.section) == (after.inputs, after.section)
    assert "decontamination" not in after.section.model_dump(mode="json")


def test_what_the_oracles_had_a_say_in_is_stale_when_they_change(stages, monkeypatch):
    """They grade what a language model writes: answers to questions without one, and chats."""
    own = {"own": {"path": "x", "domain": "math", "answer_field": ""}}
    names = ("question_bank", "sft_conversations", "pivotal_pairs", "evaluation/sft_checkpoint")
    before, programs = stages(own, teacher=MODEL), stages({})
    for module in (curation, synthesis, preference):
        monkeypatch.setattr(module, "GRADING", module.GRADING + 1)
    after, programs_after = stages(own, teacher=MODEL), stages({})
    assert all(before[name].code_version < after[name].code_version for name in names)
    assert all(programs[name].code_version == programs_after[name].code_version for name in names[:2])


def test_where_the_files_lie_is_no_part_of_what_they_are(stages):
    here, there = (stages({"own": {"path": path, "domain": "math"}})["questions/own"] for path in ("x", "y"))
    assert here.identity == there.identity


@pytest.mark.parametrize(
    ("questions", "error"),
    [
        ({"own": {"path": "x", "domain": "math", "answer_field": ""}}, "neither answers nor tests.*set synthesis.teacher"),
        ({"own": {"path": "x", "domain": "maths"}}, "questions.own.domain .value 'maths'.: Input should be 'math', 'reasoning'"),
        ({"own": {"domain": "math"}}, "questions.own.path"),
        ({"a-b": {"path": "x", "domain": "math"}, "a_b": {"path": "x", "domain": "math"}}, "questions 'a-b' and 'a_b' differ"),
    ],
)
def test_what_cannot_work_is_told_when_the_recipe_is_read(stages, questions, error):
    with pytest.raises(SeedmillError, match=error):
        stages(questions)


def test_a_language_model_may_answer_questions_that_have_no_answer(stages):
    assert "questions/own" in stages({"own": {"path": "x", "domain": "math", "answer_field": ""}}, teacher=MODEL)


@pytest.mark.parametrize("place", ["evaluation", "preference.pivotal", "preference.rejection", "synthesis.sft_conversations"])
def test_a_checker_needs_prices_wherever_it_is_named(tmp_path, place):
    data = yaml.safe_load(SMOKE.read_text())
    *path, last = place.split(".")
    section = data
    for name in (*path, last):
        section = section.setdefault(name, {})
    section["checker"] = {"kind": "openai", "model": "c"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(SeedmillError, match=f"{place} asks c at synthesis.teacher: .*price_per_million_input"):
        load(tmp_path / "recipe.yaml")
