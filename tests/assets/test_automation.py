from pathlib import Path

import dagster as dg
import pytest
import tiny_factory

from assets.automation import out_of_date, watch_sources, weekly
from assets.definitions import EVERYTHING, RECIPES, definitions
from factory.experiment import Experiment
from factory.materialize import materialize
from factory.recipe import load
from resources.factory import FactoryResource

SMOKE = RECIPES / "smoke.yaml"


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    monkeypatch.setattr("factory.experiment.build", tiny_factory.build)
    monkeypatch.setenv("SEEDMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("source.txt").write_text("one pairing")


def experiment() -> Experiment:
    return Experiment.open(load(SMOKE))


def make(*names: str) -> None:
    for name in names:
        materialize(experiment(), name)


def names(request: dg.RunRequest) -> list[str]:
    return ["/".join(key.path[1:]) for key in request.asset_selection]


def tick_of_the_schedule():
    with dg.build_schedule_context() as context:
        return weekly(EVERYTHING)(context, factory=FactoryResource(recipe=str(SMOKE)))


def tick_of_the_sensor(cursor: str | None = None) -> dg.SensorResult:
    with dg.build_sensor_context(cursor=cursor) as context:
        return watch_sources(EVERYTHING)(context, factory=FactoryResource(recipe=str(SMOKE)))


def test_what_was_never_made_is_not_out_of_date():
    assert out_of_date(experiment()) == []
    assert isinstance(tick_of_the_schedule(), dg.SkipReason)


def test_the_schedule_rebuilds_what_is_stale_and_what_waits_for_it_and_nothing_else():
    make("words", "some_pairs")
    assert isinstance(tick_of_the_schedule(), dg.SkipReason)
    Path("source.txt").write_text("another pairing")
    assert names(tick_of_the_schedule()) == ["words", "some_pairs"]


def test_the_sensor_asks_once_for_each_change_of_a_source():
    make("words", "some_pairs", "after_pairs")
    skipped = tick_of_the_sensor()
    assert skipped.skip_reason.skip_message == "the sources hold nothing that is not built yet"
    Path("source.txt").write_text("another pairing")
    changed = tick_of_the_sensor(skipped.cursor)
    [request] = changed.run_requests
    assert names(request) == ["words", "some_pairs", "after_pairs"]
    assert {key.name for key in request.asset_check_keys} == {"records_accounted", "not_empty", "has_pairs"}
    assert request.run_key == changed.cursor != skipped.cursor
    assert tick_of_the_sensor(changed.cursor).skip_reason.skip_message == "no source changed since the last look"


def test_what_a_changed_source_leaves_as_it_was_is_reused_below():
    make("words", "some_pairs")
    Path("source.txt").write_text("pairing one")
    assert materialize(experiment(), "words").reused is False
    assert materialize(experiment(), "some_pairs").reused is True


def test_both_start_switched_off():
    repository = definitions(SMOKE).get_repository_def()
    assert [s.default_status for s in repository.schedule_defs] == [dg.DefaultScheduleStatus.STOPPED]
    assert [s.default_status for s in repository.sensor_defs] == [dg.DefaultSensorStatus.STOPPED]


def test_dagster_accepts_the_request_as_a_part_of_the_job_without_audits():
    make("words", "some_pairs")
    Path("source.txt").write_text("another pairing")
    request = tick_of_the_schedule()
    whole = definitions(SMOKE).resolve_job_def(EVERYTHING)
    part = whole.get_subset(asset_selection=set(request.asset_selection), asset_check_selection=set(request.asset_check_keys))
    assert sorted(node.name for node in part.nodes) == ["smoke__some_pairs", "smoke__words"]
