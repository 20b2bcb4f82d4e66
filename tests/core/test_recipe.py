import pytest
import yaml

from factory.errors import SeedmillError
from factory.recipe import load

SMOKE = "recipes/smoke.yaml"


@pytest.fixture
def recipe(tmp_path, request):
    """Load the smoke recipe with values set at dotted paths."""

    def changed(**settings):
        data = yaml.safe_load((request.config.rootpath / SMOKE).read_text())
        for path, value in settings.items():
            *sections, name = path.split(".")
            section = data
            for key in sections:
                section = section.setdefault(key, {})
            section[name] = value
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(data))
        return load(path)

    return changed


@pytest.mark.parametrize(
    ("field", "kind", "choice"),
    [
        ("training.judged_dpo.start_from", "checkpoint", "pretrained_checkpoint, "),
        ("training.sft.start_from", "checkpoint", "pretrained_checkpoint, "),
        ("training.midtrain.start_from", "checkpoint", "pretrained_checkpoint, "),
        ("training.pivotal_dpo.pairs", "pairs", "pivotal_pairs, "),
        ("training.sft.conversations", "conversations", "sft_conversations"),
        ("evaluation.safety.checkpoint", "checkpoint", "pretrained_checkpoint, "),
    ],
)
@pytest.mark.parametrize("value", ["nonsense", "benchmarks"])
def test_a_field_that_names_no_asset_of_its_kind_is_told_when_the_recipe_is_read(recipe, field, kind, choice, value):
    with pytest.raises(SeedmillError) as caught:
        recipe(**{field: value})
    assert f"recipe.yaml: {field} (value '{value}'): this recipe makes no {kind} of that name; choose one of {choice}" in str(caught.value)


def test_the_checkpoints_of_a_list_are_each_looked_at(recipe):
    with pytest.raises(SeedmillError, match=r"evaluation\.long_context\.checkpoints \(value 'nonsense'\)"):
        recipe(**{"evaluation.long_context.checkpoints": ["pretrained_checkpoint", "nonsense"]})


@pytest.mark.parametrize(
    ("field", "value"), [("training.sft.start_from", "judged_dpo_checkpoint"), ("training.pivotal_dpo.pairs", "judged_pairs")]
)
def test_a_stage_that_would_be_made_from_itself_is_told_when_the_recipe_is_read(recipe, field, value):
    with pytest.raises(SeedmillError, match=r"made from itself: .*_checkpoint <- .*; mend start_from or pairs in `training`$"):
        recipe(**{field: value})


def test_an_arm_of_the_ablation_that_the_model_starts_from_is_made_with_the_model(recipe):
    from factory.graph import build, default_selection

    stages = build(recipe(**{"training.pivotal_dpo.start_from": "judge_only_checkpoint"}))
    chosen = default_selection(stages)
    assert {"judge_only_checkpoint", "judge_only_pairs"} <= set(chosen)
    assert {name for stage in chosen for name in stages[stage].inputs} <= set(chosen)
    assert "ablation_report" not in chosen


@pytest.mark.parametrize("name", ["M x", "m/x", "", "-m", "é", "m" * 50])
def test_a_source_is_named_as_an_asset_can_be(recipe, name):
    source = {"kind": "docstrings", "cluster": "acquired"}
    with pytest.raises(SeedmillError) as caught:
        recipe(sources={"web": {**source, "cluster": "web"}, name: source})
    assert str(caught.value).endswith(
        f"sources (name {name!r}): a name begins with a letter from a to z; up to 40 such letters, digits, hyphens and underscores follow"
    )


def test_sources_whose_names_the_orchestrator_could_not_tell_apart_are_refused(recipe):
    source = {"kind": "docstrings", "cluster": "web"}
    with pytest.raises(SeedmillError, match="sources 'a-b' and 'a_b' differ in hyphens and underscores alone: rename one"):
        recipe(sources={"a-b": source, "a_b": source, "acquired": {**source, "cluster": "acquired"}})


def test_an_experiment_is_named_as_an_asset_can_be(recipe):
    with pytest.raises(SeedmillError, match=r"experiment \(value 'My Model'\): a name begins with a letter from a to z; up to"):
        recipe(experiment="My Model")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"experiment: a\nseed: 0\nseed: 5\n", r"is not valid YAML: key 'seed' stands twice in one mapping; keep one .*line 3, col"),
        (b"experiment: a\ncuration: {filter: {annotations: 1, annotations: 2}}\n", r".*key 'annotations' stands twice"),
        (b"experiment: \xff\n", r"is not UTF-8 \(invalid start byte at byte 12\): save it as UTF-8"),
        (b"experiment: \x01\n", "is not valid YAML"),
        (b"- a\n", "holds list, not a mapping"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_bytes(text)
    with pytest.raises(SeedmillError, match=rf"^recipe [^\n]*recipe\.yaml {message}[^\n]*$"):
        load(tmp_path / "recipe.yaml")


def test_a_mapping_may_take_over_another_and_replace_some_of_it(tmp_path, request):
    text = (request.config.rootpath / SMOKE).read_text()
    text = text.replace("acquired: {kind", "acquired: &it {kind")
    text = text.replace("\ncuration:", "\n  again: {<<: *it, limit_documents: 3}\n\ncuration:", 1)
    (tmp_path / "recipe.yaml").write_text(text)
    found = load(tmp_path / "recipe.yaml").sources
    assert found["again"] == found["acquired"].model_copy(update={"limit_documents": 3})
