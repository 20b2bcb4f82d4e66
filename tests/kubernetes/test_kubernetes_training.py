"""Ranks in pods of their own: whatever happens to the pods, the digests are the local launcher's."""

from pathlib import Path

import pytest
from cluster_jobs import STEPS, checkpoints, digests, progress, resumed_at, training
from kubernetes_jobs import launcher
from training_worlds import World
from waiting import wait_for

from factory.cluster.api import Phase, attend
from factory.cluster.local import LocalLauncher
from factory.errors import SeedmillError
from factory.experiment import Experiment
from factory.recipe import load
from factory.spec import InputSpec, JobSpec

pytestmark = pytest.mark.ranks
SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke.yaml"


def long(value: object) -> object:
    """A case for `make test-long`."""
    return pytest.param(value, marks=pytest.mark.kill)


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


@pytest.mark.parametrize("kind", ["JobSet", long("TrainJob")])
def test_two_ranks_in_two_pods_end_with_the_local_digests(cluster, world, undisturbed, kind):
    remote, spec = launcher(cluster, world.root, kind=kind), training(world, kind)
    remote.submit(spec.key, spec)
    heard: list[dict] = []
    assert digests(attend(remote, spec.key, heard.append)) == undisturbed
    assert any("runs on n1, n2" in m.get("text", "") for m in heard)
    assert cluster.kubelet.started == 2
    wait_for(lambda: not (Path(spec.folder) / "starts").exists())


@pytest.mark.kill
def test_two_ranks_in_one_pod_end_with_the_local_digests(cluster, world, undisturbed):
    remote, spec = launcher(cluster, world.root, ranks_per_pod=2), training(world, "onepod")
    remote.submit(spec.key, spec)
    assert digests(attend(remote, spec.key, lambda _: None)) == undisturbed
    assert cluster.kubelet.started == 1


@pytest.mark.parametrize("index", [long(0), 1])
def test_a_preempted_pod_has_all_save_and_the_set_ends_with_the_local_digests(cluster, world, undisturbed, index):
    remote, spec = launcher(cluster, world.root), training(world, f"preempted-{index}", pause=0.3)
    remote.submit(spec.key, spec)
    wait_for(lambda: len(progress(remote, spec)) > 2, seconds=60)
    cluster.preempt(index)
    wait_for(lambda: checkpoints(Path(spec.folder)))
    assert digests(attend(remote, spec.key, lambda _: None)) == undisturbed
    assert cluster.all("jobsets")[0]["status"]["restarts"] == 1
    assert resumed_at(remote, spec)[0] in range(2, STEPS)


@pytest.mark.kill
def test_a_set_at_its_time_limit_saves_and_ends_with_the_local_digests(cluster, world, undisturbed):
    remote, spec = launcher(cluster, world.root, time_limit_seconds=20), training(world, "limited", pause=2.0)
    remote.submit(spec.key, spec)
    assert digests(attend(remote, spec.key, lambda _: None)) == undisturbed
    assert cluster.all("jobsets")[0]["status"]["restarts"] >= 1
    assert resumed_at(remote, spec)[0] in range(1, STEPS)


@pytest.mark.kill
def test_an_interrupt_has_the_ranks_save_and_the_next_attempt_goes_on(cluster, world, undisturbed):
    remote, spec = launcher(cluster, world.root), training(world, "cancelled", pause=0.3)
    remote.submit(spec.key, spec)

    def interrupt(message: dict) -> None:
        if message.get("done", 0) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attend(remote, spec.key, interrupt)
    assert remote.find(spec.key).phase is Phase.DEAD
    assert not cluster.objects
    saved = checkpoints(Path(spec.folder))
    assert len(saved) == 1
    following = training(world, "continued", spec.folder)
    remote.submit(following.key, following)
    assert digests(attend(remote, following.key, lambda _: None)) == undisturbed
    assert resumed_at(remote, following) == [int(saved[0].split("-")[1])]


def test_a_rank_that_fails_in_another_pod_than_the_first_is_heard(cluster, world):
    remote, spec = launcher(cluster, world.root), training(world, "failed")
    spec = spec.model_copy(update={"run": "endless:fail_in_the_second_rank"})
    remote.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=r"^rank 1 finds no table; bring one$"):
        attend(remote, spec.key, lambda _: None)


def test_the_smoke_recipes_pretraining_gives_the_digest_of_the_local_launcher(cluster, smoke_home, tmp_path, monkeypatch):
    monkeypatch.setenv("SEEDMILL_HOME", str(smoke_home))
    experiment = Experiment.open(load(SMOKE))
    stage = experiment.stage("pretrained_checkpoint")
    inputs = experiment.inputs(stage)
    made = experiment.store.manifest(stage.name, experiment.store.pointer(experiment.name, stage.name))
    upstream = {
        name: InputSpec(asset=m.asset, version=m.version, digest=m.digest, path=str(experiment.store.outputs(m)))
        for name, m in inputs.items()
    }
    where = {"key": "pretrained_checkpoint@smoke#1", "folder": str(tmp_path / "1"), "runtime": {"cache": str(tmp_path / "cache")}}
    world = {"processes": stage.processes, "threads": stage.threads, "seed": experiment.recipe.seed}
    spec = JobSpec(asset=stage.name, run=stage.run, section=stage.settings, inputs=upstream, **where, **world)
    remote = launcher(cluster, tmp_path, claims={str(tmp_path): "work", str(smoke_home): "work"})
    remote.submit(spec.key, spec)
    result = attend(remote, spec.key, lambda _: None)
    assert {output.name: output.digest for output in result.outputs} == {output.name: output.digest for output in made.outputs}
