"""SIGKILL to each service and worker of the production set-up while a job trains on Slurm: the job goes on and is found again."""

from collections.abc import Iterator
from pathlib import Path

import frozen_training
import pytest
from frozen_training import ASSET, held, is_one_training, manifest, retry_of, steps, wait_for, without_pretraining, write_recipe
from services import Services, serving, unended
from slurm_jobs import ranks_of
from virtual_slurm import VirtualSlurm

pytestmark = [pytest.mark.slurm, pytest.mark.kill, pytest.mark.timeout(900)]
CLUSTER = {"launcher": "slurm", "poll_seconds": 0.5, "save_seconds": 20, "ranks_per_node": 1, "patience_seconds": 30}


@pytest.fixture(scope="module")
def services(daemons: VirtualSlurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Code location, web server and daemon with the production instance, over the smoke recipe with its jobs on Slurm."""
    home = tmp_path_factory.mktemp("services")
    recipe = write_recipe(home / "recipe.yaml", cluster=CLUSTER)
    own = {"PYTHONPATH": str(Path(frozen_training.__file__).parent), "SEEDMILL_TEST_RECIPE": str(recipe)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**daemons.environment, **own}.items():
            patch.setenv(name, value)
        with serving(home, module="recipe_location", location="defs") as started:
            yield started


def kill(services: Services, victim: str) -> None:
    """SIGKILL to a service, which is started again as its container would be, or to a worker, which nobody starts again."""
    if victim in services.processes:
        services.kill(victim)
        services.start(victim)
        return
    workers = [services.run_worker(), services.step_worker()]
    for worker in workers[{"run": slice(1), "step": slice(1, 2), "run and step": slice(2)}[victim]]:
        worker.kill()


@pytest.mark.parametrize("victim", ["web", "daemon", "step", "run", "run and step"])
def test_a_kill_in_mid_training_leaves_one_job_and_the_same_checkpoint(services, slurm, trained: Path, victim: str):
    workspace = services.home / "work"
    without_pretraining(trained, workspace)
    before = slurm.jobs()
    run = services.launch(ASSET)
    with services.instance() as instance:
        with held(workspace, lambda: ranks_of(slurm.jobs()[-1], 0)):
            kill(services, victim)
            if victim not in services.processes:
                wait_for(lambda: retry_of(instance, run))
        wait_for(lambda: not unended(instance))
        last = instance.get_runs(limit=1)[0]
    (job,) = slurm.jobs()[len(before) :]
    assert slurm.restarts(job) == 0
    assert is_one_training(steps(workspace))
    assert (last.status.value, last.run_id == run) == ("SUCCESS", victim in services.processes)
    assert (manifest(workspace)["digest"], manifest(workspace)["attempt"]) == (manifest(trained)["digest"], 1)


def test_a_run_that_is_terminated_in_the_web_ui_saves_a_checkpoint_and_leaves_no_job(services, slurm, trained: Path):
    workspace = services.home / "work"
    without_pretraining(trained, workspace)
    before = slurm.jobs()
    run = services.launch(ASSET)
    wait_for(lambda: len(steps(workspace)) >= 3)
    services.terminate(run)
    assert services.outcome(run) == "CANCELED"
    assert len(slurm.jobs()) == len(before) + 1
    assert slurm.jobs(states="pending,running,suspended,completing") == []
    (saved,) = frozen_training.checkpoints(workspace)
    assert saved in range(3, frozen_training.STEPS), "training had ended before it was told to stop, or had saved nothing new"
    assert not ranks_of(slurm.jobs()[-1], 0)
