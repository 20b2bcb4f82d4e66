from pathlib import Path

import pytest

from factory.errors import SeedmillError
from factory.graph import build, default_selection, select
from factory.recipe import load


@pytest.fixture(scope="module")
def stages():
    return build(load(Path(__file__).parents[2] / "recipes/smoke.yaml"))


def test_no_words_select_all_but_the_ablation(stages):
    assert select(stages, []) == default_selection(stages)
    assert {stages[name].group for name in select(stages, [])} == {stage.group for stage in stages.values()} - {"ablation"}


def test_a_word_is_an_asset_or_a_group_in_the_order_that_data_flows(stages):
    assert select(stages, ["tokenizer", "benchmarks"]) == ["benchmarks", "tokenizer"]
    assert select(stages, ["release"]) == [name for name, stage in stages.items() if stage.group == "release"]


def test_a_plus_takes_everything_above_and_nothing_else(stages):
    assert select(stages, ["+question_bank"]) == ["benchmarks", "question_bank"]
    chosen = select(stages, ["+seed_passages"])
    assert all(set(stages[name].inputs) <= set(chosen) for name in chosen)
    assert "tokenizer" not in chosen


def test_a_word_that_is_neither_names_what_there_is(stages):
    with pytest.raises(SeedmillError, match=r"no asset or group 'tokens_'; did you mean tokens or "):
        select(stages, ["+tokens_"])
