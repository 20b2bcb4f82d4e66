import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import tiny_factory

from assets.definitions import EVERYTHING, RECIPES, definitions
from assets.instance import PROCESS, open_instance, process_tag, reap
from assets.run import execute
from factory.cluster.api import Phase
from factory.errors import SeedmillError
from factory.experiment import Experiment
from factory.job import TERMINATED, USER_ERROR
from factory.recipe import load

HERE = Path(__file__).parent
SMOKE = RECIPES / "smoke.yaml"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEDMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The tiny graph over `source.txt`."""
    monkeypatch.setattr("factory.experiment.build", tiny_factory.build)
    (tmp_path / "source.txt").write_text("one two pairing")


def run(*select: str, rebuild: list[str] | None = None, events: Path | None = None) -> int:
    return execute(SMOKE, None, list(select), rebuild or [], events)


def told(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen:
    """The command line over the tiny graph, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "tiny_factory.py"), str(SMOKE), *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds: float = 30):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return value


def steps_saved(workspace: Path) -> int:
    return len(list(workspace.glob("store/artifacts/slow/*/attempts/*/parts/step-*")))


def job_state(workspace: Path):
    experiment = Experiment.open(load(SMOKE))
    keys = [json.loads(path.read_bytes())["key"] for path in sorted((workspace / "jobs").glob("*.json"))]
    return [experiment.launcher.find(key) for key in keys]


def statuses(workspace: Path) -> list[dg.DagsterRunStatus]:
    """How the runs stand, the newest first."""
    with open_instance(workspace) as instance:
        return [run.status for run in instance.get_runs()]


def test_a_part_of_the_real_graph_is_materialized_and_then_reused(workspace, tmp_path):
    events = tmp_path / "events.jsonl"
    assert [run("raw_documents/code", "benchmarks", events=events) for _ in range(2)] == [0, 0]
    ends = [event for event in told(events) if event["kind"] == "finished"]
    assert [(e["asset"], e["reused"]) for e in ends[2:]] == [(e["asset"], True) for e in ends[:2]]
    assert {e["asset"]: e["rows"] for e in ends} == {"raw_documents/code": 24, "benchmarks": 40}
    with open_instance(workspace) as instance:
        record = instance.get_latest_materialization_event(dg.AssetKey(["smoke", "benchmarks"]))
    manifest = Experiment.open(load(SMOKE)).latest("benchmarks")
    assert record.asset_materialization.tags["dagster/data_version"] == manifest.digest
    assert record.asset_materialization.metadata["version"].value == manifest.version
    assert record.asset_materialization.metadata["dagster/row_count"].value == 40


def test_a_rebuild_runs_again_and_comes_to_the_same_digest(tmp_path):
    events = tmp_path / "events.jsonl"
    assert run("benchmarks") == 0
    assert run("benchmarks", rebuild=["benchmarks"], events=events) == 0
    assert told(events)[-1]["reused"] is False


def test_a_run_from_the_command_line_leaves_the_audits_to_the_audit(workspace):
    assert run("benchmarks") == 0
    with open_instance(workspace) as instance:
        [finished] = instance.get_runs()
        checks = [
            record.event_log_entry.asset_check_evaluation
            for record in instance.get_records_for_run(finished.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
        ]
    assert {check.check_name for check in checks} == {"records_accounted", "not_empty"}


def test_a_word_that_names_nothing_is_an_error_before_anything_runs(workspace):
    with pytest.raises(SeedmillError, match="'toknizer'"):
        run("toknizer")
    assert not (workspace / "dagster").exists()


@pytest.mark.usefixtures("tiny")
def test_a_users_mistake_is_one_line_and_status_1(tmp_path, capfd):
    (tmp_path / "source.txt").write_text("a mistake")
    assert run("words") == 1
    assert capfd.readouterr().err.splitlines() == ["error: source.txt holds a mistake: mend it"]


@pytest.mark.usefixtures("tiny")
def test_a_fault_of_ours_keeps_its_traceback(tmp_path, capfd):
    (tmp_path / "source.txt").write_text("a fault")
    assert run("words") == 1
    error = capfd.readouterr().err
    assert "ZeroDivisionError: a fault of ours" in error
    assert "tiny_factory.py" in error


@pytest.mark.usefixtures("tiny")
def test_no_pairs_keep_what_trains_on_them_from_running(tmp_path, capfd):
    (tmp_path / "source.txt").write_text("one two")
    events = tmp_path / "events.jsonl"
    assert run("words", "some_pairs", "after_pairs", events=events) == 1
    assert {event["asset"] for event in told(events)} == {"words", "some_pairs"}
    assert sorted(capfd.readouterr().err.splitlines()) == [
        "error: some_pairs does not pass has_pairs (0 pairs), so nothing was made from it",
        "error: some_pairs does not pass not_empty (0 pairs), so nothing was made from it",
    ]


def test_a_recipe_that_cannot_be_read_is_one_line(tmp_path):
    process = start(tmp_path, "--seed", "-1")
    error = process.communicate(timeout=60)[1]
    assert process.returncode == USER_ERROR
    assert error.startswith("error: ")
    assert "seed (value -1)" in error
    assert error.count("\n") == 1


@pytest.mark.kill
@pytest.mark.usefixtures("tiny")
def test_terminating_a_run_cancels_its_job_and_the_run_is_canceled(workspace, tmp_path):
    process = start(tmp_path, "--select", "+slow")
    wait_for(lambda: steps_saved(workspace) >= 2)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == TERMINATED
    assert "interrupted" in error
    assert "Traceback" not in error
    [state] = job_state(workspace)
    assert (state.phase, state.status) == (Phase.DEAD, TERMINATED)
    assert statuses(workspace) == [dg.DagsterRunStatus.CANCELED]


@pytest.mark.kill
@pytest.mark.usefixtures("tiny")
def test_a_killed_command_line_leaves_its_job_and_the_next_one_reaps_the_run_and_adopts_the_job(workspace, tmp_path):
    first = start(tmp_path, "--select", "+slow")
    wait_for(lambda: steps_saved(workspace) >= 2)
    first.kill()
    first.wait()
    second = start(tmp_path, "--select", "+slow", "--events", "events.jsonl")
    wait_for(lambda: (tmp_path / "events.jsonl").exists() and '"progress"' in (tmp_path / "events.jsonl").read_text())
    [state] = job_state(workspace)
    assert state.phase is Phase.RUNNING
    assert (state.folder / "log.txt").stat().st_size == 0
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)
    assert statuses(workspace) == [dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE]
    assert [state.folder.name for state in job_state(workspace)] == ["1"]


@pytest.mark.usefixtures("tiny")
def test_reaping_leaves_runs_alone_whose_process_lives_or_is_unknown(workspace):
    job = definitions(SMOKE).resolve_job_def(EVERYTHING)
    tags = {"mine": {PROCESS: process_tag()}, "unknown": {}, "dead": {PROCESS: f"{os.getpid()}:1"}}
    started = dg.DagsterRunStatus.STARTED
    with open_instance(workspace) as instance:
        runs = {name: instance.create_run_for_job(job, tags=tag, status=started).run_id for name, tag in tags.items()}
        assert reap(instance) == [runs["dead"]]
        assert instance.get_run_by_id(runs["dead"]).status is dg.DagsterRunStatus.FAILURE
