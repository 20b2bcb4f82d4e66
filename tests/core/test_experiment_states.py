from pathlib import Path

import pytest
from miniature import Loud, Mini, Words

from factory.errors import SeedmillError
from factory.experiment import Experiment
from factory.materialize import materialize


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    (tmp_path / "source.txt").write_text("apple pear fig")
    return Mini(tmp_path)


def run_all(mini: Mini) -> dict[str, bool]:
    """Materialize everything; which assets were built rather than reused."""
    return {name: not materialize(mini.experiment(), name).reused for name in mini.build()}


def states(experiment: Experiment) -> dict[str, str]:
    return {state.asset: state.state for state in experiment.states()}


def why(experiment: Experiment, asset: str) -> str:
    return next(state.why for state in experiment.states() if state.asset == asset)


def test_nothing_made_is_missing_and_says_what_it_waits_for(mini):
    experiment = mini.experiment()
    assert states(experiment) == dict.fromkeys(("raw", "words", "loud", "total"), "missing")
    assert why(experiment, "raw") == "never materialized"
    assert why(experiment, "total") == "waits for words, loud"
    with pytest.raises(SeedmillError, match=r"words needs raw, which is missing .*: materialize it first"):
        materialize(experiment, "words")


def test_what_was_made_is_fresh_and_is_reused(mini):
    assert set(run_all(mini).values()) == {True}
    assert states(mini.experiment()) == dict.fromkeys(("raw", "words", "loud", "total"), "fresh")
    assert set(run_all(mini).values()) == {False}


def test_a_changed_section_makes_its_asset_stale_and_leaves_everything_above_fresh(mini):
    run_all(mini)
    mini.loud = Loud(mark="?")
    experiment = mini.experiment()
    assert states(experiment) == {"raw": "fresh", "words": "fresh", "loud": "stale", "total": "pending"}
    assert why(experiment, "loud") == "recipe: mark: '!' -> '?'"
    assert run_all(mini) == {"raw": False, "words": False, "loud": True, "total": True}


def test_an_upstream_that_is_rebuilt_to_the_same_content_makes_nothing_stale(mini):
    run_all(mini)
    mini.words = Words(lowest=2)  # another section, but no line is that short
    assert states(mini.experiment()) == {"raw": "fresh", "words": "stale", "loud": "pending", "total": "pending"}
    assert materialize(mini.experiment(), "words").reused is False
    assert states(mini.experiment()) == dict.fromkeys(("raw", "words", "loud", "total"), "fresh")


def test_a_bumped_code_version_and_a_changed_seed_are_told(mini):
    run_all(mini)
    mini.words_code, mini.seed = 2, 7
    assert why(mini.experiment(), "words") == "code version 1 -> 2"
    materialize(mini.experiment(), "words")
    assert states(mini.experiment()) == {"raw": "fresh", "words": "fresh", "loud": "stale", "total": "pending"}
    assert why(mini.experiment(), "loud") == "the seed changed"


def test_a_changed_source_makes_what_reads_it_stale(mini):
    run_all(mini)
    (mini.workspace / "source.txt").write_text("apple pear fig plum")
    assert why(mini.experiment(), "raw") == "its source changed"
    materialize(mini.experiment(), "raw")
    assert why(mini.experiment(), "words") == "new content of raw"
    assert mini.experiment().latest("words").rows == 3


def test_a_source_that_cannot_be_read_is_told_on_its_line_and_stops_only_what_reads_it(mini):
    run_all(mini)
    (mini.workspace / "source.txt").rename(mini.workspace / "away.txt")
    experiment = mini.experiment()
    assert states(experiment) == {"raw": "unreadable", "words": "pending", "loud": "pending", "total": "pending"}
    assert "source.txt" in why(experiment, "raw")
    assert experiment.latest("total").asset == "total"
    with pytest.raises(SeedmillError, match=r"words needs raw, whose source cannot be read: .*source\.txt"):
        materialize(experiment, "words")
    with pytest.raises(FileNotFoundError, match=r"source\.txt"):
        materialize(experiment, "raw")


def test_a_setting_that_is_taken_back_finds_its_old_version(mini):
    run_all(mini)
    first = mini.experiment().latest("loud").version
    mini.loud = Loud(mark="?")
    run_all(mini)
    mini.loud = Loud()
    assert states(mini.experiment()) == dict.fromkeys(("raw", "words", "loud", "total"), "fresh")
    assert set(run_all(mini).values()) == {False}
    assert mini.experiment().latest("loud").version == first


def test_experiments_share_versions_and_keep_their_own_pointers(mini):
    run_all(mini)
    mini.name = "other"
    assert mini.experiment().store.pointer("other", "raw") is None
    assert set(run_all(mini).values()) == {False}


def test_an_unknown_asset_names_those_there_are(mini):
    with pytest.raises(SeedmillError, match="no asset 'word' in experiment 'mini'; it has: raw, words, loud, total"):
        mini.experiment().stage("word")
    assert mini.experiment().stage("mini/words").name == "words"
    with pytest.raises(SeedmillError, match="raw was never materialized by experiment 'mini'"):
        mini.experiment().latest("raw")
