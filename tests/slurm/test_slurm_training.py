"""Two ranks on two nodes of a real Slurm: whatever happens to the job, its digests are the local launcher's."""

import shutil
from pathlib import Path

import pytest
import yaml
from slurm_jobs import STEPS, LocalLauncher, checkpoints, digests, launcher, training
from training_worlds import World
from virtual_slurm import VirtualSlurm, wait_for

from factory.cluster.api import Offsets, Phase, attend
from factory.cluster.slurm import SlurmLauncher
from factory.experiment import Experiment
from factory.materialize import materialize
from factory.recipe import load
from factory.spec import JobSpec

pytestmark = [pytest.mark.slurm, pytest.mark.ranks]
SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.add_blend({"web": 0.25, "code": 0.75})
    return made


@pytest.fixture(scope="module")
def undisturbed(world: World) -> dict[str, str]:
    """The digests that the local launcher's two ranks leave."""
    local, spec = LocalLauncher(world.root / "local"), training(world, "local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "cluster"))
        local.submit(spec.key, spec)
        return digests(attend(local, spec.key, lambda _: None))


def steps_of(slurm: SlurmLauncher, spec: JobSpec) -> list[int]:
    """The steps that the job has reported, over all its starts."""
    return [m["done"] for m in slurm.follow(spec.key, Offsets()).messages if m["kind"] == "progress"]


def resumed_at(slurm: SlurmLauncher, spec: JobSpec) -> list[int]:
    logs = [m["text"] for m in slurm.follow(spec.key, Offsets()).messages if m["kind"] == "log"]
    return [int(text.split()[3]) for text in logs if text.startswith("resumed at step")]


def test_a_preempted_job_saves_is_queued_again_and_ends_with_the_local_digests(slurm, world, undisturbed, tmp_path):
    cluster, spec = launcher(tmp_path), training(world, "preempted", pause=0.5)
    cluster.submit(spec.key, spec)
    wait_for(lambda: len(steps_of(cluster, spec)) > 2, seconds=60)
    (job,) = slurm.jobs()[-1:]
    slurm.ask("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: checkpoints(Path(spec.folder)))
    with slurm.hurrying(job):
        assert digests(attend(cluster, spec.key, lambda _: None)) == undisturbed
    assert slurm.restarts(job) == 1
    assert resumed_at(cluster, spec)[0] in range(2, STEPS)


def test_a_job_near_its_time_limit_saves_is_queued_again_and_ends_with_the_local_digests(slurm, world, undisturbed, tmp_path):
    cluster, spec = launcher(tmp_path, time_limit="1", save_seconds=2), training(world, "limited", pause=0.5)
    cluster.submit(spec.key, spec)
    (job,) = slurm.jobs()[-1:]
    with slurm.hurrying(job):
        assert digests(attend(cluster, spec.key, lambda _: None)) == undisturbed
    assert slurm.restarts(job) >= 1
    assert resumed_at(cluster, spec)[0] in range(1, STEPS)


def test_an_interrupt_has_the_ranks_save_and_ends_the_job_and_the_next_attempt_goes_on(slurm, world, undisturbed, tmp_path):
    cluster, spec = launcher(tmp_path), training(world, "cancelled", pause=0.5)
    cluster.submit(spec.key, spec)

    def interrupt(message):
        if message.get("done", 0) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attend(cluster, spec.key, interrupt)
    state = cluster.find(spec.key)
    assert (state.phase, state.status) == (Phase.DEAD, 143)
    saved = checkpoints(Path(spec.folder))
    assert len(saved) == 1
    following = training(world, "continued", spec.folder)
    cluster.submit(following.key, following)
    assert digests(attend(cluster, following.key, lambda _: None)) == undisturbed
    assert resumed_at(cluster, following) == [int(saved[0].split("-")[1])]
    wait_for(lambda: not slurm.jobs(states="pending,running"))


def test_two_ranks_on_two_nodes_end_with_the_local_digests_and_leave_nothing_else(slurm: VirtualSlurm, world, undisturbed, tmp_path):
    cluster, spec = launcher(tmp_path), training(world, "twonodes")
    cluster.submit(spec.key, spec)
    (job,) = slurm.jobs()[-1:]
    heard: list[dict] = []
    assert digests(attend(cluster, spec.key, heard.append)) == undisturbed
    assert any("on n[1-2]" in m.get("text", "") for m in heard)
    assert slurm.ask("squeue", "-h", "--states=all", f"--jobs={job}", "-o", "%D %C") == "2 2"
    wait_for(lambda: not (Path(spec.folder) / "starts").exists())


def test_the_smoke_recipes_pretraining_has_the_same_digest_on_slurm(slurm, smoke_home, tmp_path, monkeypatch):
    shutil.copytree(smoke_home / "store", tmp_path / "store")
    monkeypatch.setenv("SEEDMILL_HOME", str(tmp_path))
    local = Experiment.open(load(SMOKE)).latest("pretrained_checkpoint")
    shutil.rmtree(tmp_path / "store" / "artifacts" / "pretrained_checkpoint")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(yaml.safe_load(SMOKE.read_text()) | {"cluster": {"launcher": "slurm", "poll_seconds": 0.5}}))
    before = slurm.jobs()
    remote = materialize(Experiment.open(load(recipe)), "pretrained_checkpoint").manifest
    assert (remote.version, remote.digest) == (local.version, local.digest)
    assert len(slurm.jobs()) == len(before) + 1
