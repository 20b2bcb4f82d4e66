"""A run worker that is killed gives its place in the pool back, and the run that follows it adopts the job that goes on."""

from pathlib import Path

import psutil
import pytest
from dagster import DagsterInstance
from frozen_training import ASSET, held, is_one_training, manifest, retry_of, steps, wait_for, without_pretraining, write_recipe
from services import serving, unended

POOL = "cores"


def holders(instance: DagsterInstance) -> list[str]:
    """The runs that hold the pool's slots."""
    return [slot.run_id for slot in instance.event_log_storage.get_concurrency_info(POOL).claimed_slots]


def training_of(workspace: Path) -> list[psutil.Process]:
    """The processes of the job, found by its mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SEEDMILL_JOB", "").startswith(str(workspace)) and "factory.job" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if Path(process.exe()).name.startswith("python")]


@pytest.mark.kill
@pytest.mark.timeout(900)
def test_a_killed_run_worker_frees_its_slot_and_its_job_is_adopted(trained, tmp_path, monkeypatch):
    workspace = tmp_path / "work"
    without_pretraining(trained, workspace)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("SEEDMILL_TEST_RECIPE", str(write_recipe(tmp_path / "recipe.yaml")))
    with serving(tmp_path, module="recipe_location", location="defs") as services, services.instance() as instance:
        run = services.launch(ASSET)
        with held(workspace, lambda: training_of(workspace)):
            assert holders(instance) == [run]
            services.kill_worker(services.run_worker())
            wait_for(lambda: (retry := retry_of(instance, run)) and holders(instance) == [retry])
        wait_for(lambda: not unended(instance))
        assert holders(instance) == []
        assert instance.get_runs(limit=1)[0].status.value == "SUCCESS"
    assert is_one_training(steps(workspace))
    assert (manifest(workspace)["digest"], manifest(workspace)["attempt"]) == (manifest(trained)["digest"], 1)
