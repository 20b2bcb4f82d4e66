import importlib.util
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import postgres_server
import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.instance.config import dagster_instance_config

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKER = CHECKOUT / "docker"
SMOKE = CHECKOUT / "recipes" / "smoke.yaml"
UNSET = {
    "DAGSTER_POSTGRES_HOST": "h",
    "DAGSTER_POSTGRES_USER": "u",
    "DAGSTER_POSTGRES_PASSWORD": "p",
    "DAGSTER_POSTGRES_DB": "d",
}


@pytest.fixture(scope="module")
def purge_runs():
    return load_program("purge_runs")


def load_program(name):
    """A program of docker/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCKER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The production instance over a real Postgres. Its file is copied with another port, which is all that differs."""
    server = postgres_server.binaries()
    if server is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("PostgreSQL's server is not installed: apt-get install postgresql")
    home = tmp_path_factory.mktemp("home")
    with postgres_server.running(server) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "DAGSTER_HOME": str(home), "DAGSTER_LOGS": str(home / "logs")}.items():
            patch.setenv(name, value)
        text = (DOCKER / "dagster.yaml").read_text()
        assert "port: 5432" in text
        (home / "dagster.yaml").write_text(text.replace("port: 5432", f"port: {environment['PGPORT']}"))
        with DagsterInstance.from_config(str(home)) as instance:
            yield instance


def test_the_production_file_is_a_valid_instance(monkeypatch):
    for name, value in {**UNSET, "DAGSTER_LOGS": "logs"}.items():
        monkeypatch.setenv(name, value)
    config, _ = dagster_instance_config(str(DOCKER))
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] == 60
    assert config["retention"]["sensor"]["purge_after_days"]["skipped"] == 7


def test_a_misspelt_setting_is_refused(tmp_path, monkeypatch):
    for name, value in {**UNSET, "DAGSTER_LOGS": "logs"}.items():
        monkeypatch.setenv(name, value)
    settings = yaml.safe_load((DOCKER / "dagster.yaml").read_text())
    settings["run_monitoring"]["free_slots"] = 1
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(dg.DagsterInvalidConfigError, match="free_slots"):
        dagster_instance_config(str(tmp_path))


def test_secrets_and_hosts_come_from_the_environment():
    database = yaml.safe_load((DOCKER / "dagster.yaml").read_text())["storage"]["postgres"]["postgres_db"]
    for name in ("hostname", "username", "password", "db_name"):
        assert set(database[name]) == {"env"}, name


def test_the_code_location_is_a_server(monkeypatch):
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    monkeypatch.setenv("SEEDMILL_CODE_HOST", "code.example")
    origins = location_origins_from_yaml_paths([str(DOCKER / "workspace.yaml")])
    assert [(origin.host, origin.port, origin.location_name) for origin in origins] == [("code.example", 4000, "laptop")]


def test_an_asset_is_made_and_read_back_through_postgres(postgres, tmp_path, monkeypatch):
    from assets.definitions import SELECTION, definitions

    monkeypatch.setenv("SEEDMILL_HOME", str(tmp_path))
    job = definitions(SMOKE, only=["raw_documents/docstrings"]).resolve_job_def(SELECTION)
    result = job.execute_in_process(instance=postgres, run_config={"resources": {"factory": {"config": {"recipe": str(SMOKE)}}}})
    assert result.success
    event = postgres.get_latest_materialization_event(dg.AssetKey(["smoke", "raw_documents", "docstrings"]))
    assert event is not None
    assert event.run_id == result.run_id
    assert "PostgresEventLogStorage" in type(postgres.event_log_storage).__name__


def test_the_purge_keeps_the_run_that_holds_the_newest_materialization(postgres, purge_runs):
    @dg.asset
    def number() -> int:
        return 1

    first, second = (dg.materialize([number], instance=postgres).run_id for _ in range(2))
    assert purge_runs.purge(postgres, timedelta(days=1)) == []
    deleted = purge_runs.purge(postgres, timedelta(seconds=-1))
    assert first in deleted
    assert second not in deleted
    assert postgres.get_run_by_id(first) is None
    assert postgres.get_latest_materialization_event(number.key).run_id == second


def test_the_purge_reads_all_pages_before_it_deletes(purge_runs, monkeypatch):
    monkeypatch.setattr(purge_runs, "BATCH", 2)
    with dg.instance_for_test() as instance:

        @dg.op
        def nothing() -> None:
            pass

        @dg.job
        def idle() -> None:
            nothing()

        made = [idle.execute_in_process(instance=instance).run_id for _ in range(5)]
        assert purge_runs.purge(instance, timedelta(seconds=-1)) == made
        assert instance.get_runs_count() == 0


def test_a_code_location_ends_the_runs_that_its_last_start_left_behind_and_no_others():
    serve_code = load_program("serve_code")
    here, elsewhere = ('{"host": "code", "port": %d}' % port for port in (4000, 4001))  # noqa: UP031 (braces)
    tags = {name: {".dagster/grpc_info": place} for name, place in {"running": here, "stopping": here, "other": elsewhere}.items()}

    @dg.op
    def nothing() -> None:
        pass

    @dg.job
    def idle() -> None:
        nothing()

    with dg.instance_for_test() as instance:
        runs = {name: instance.create_run_for_job(idle, tags=tags.get(name, {})) for name in (*tags, "by hand")}
        for run in runs.values():
            instance.report_run_canceling(run) if run is runs["stopping"] else instance.handle_new_event(started(run))
        ended = serve_code.end_lost_runs(instance, "code", 4000)
        status = {name: instance.get_run_by_id(run.run_id).status.value for name, run in runs.items()}
    assert set(ended) == {runs["running"].run_id, runs["stopping"].run_id}
    assert status == {"running": "FAILURE", "stopping": "CANCELED", "other": "STARTED", "by hand": "STARTED"}


def started(run):
    """The event with which a run begins."""
    event = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    return dg.EventLogEntry(None, "info", "", run.run_id, time.time(), job_name=run.job_name, dagster_event=event)
