"""Ranks in pods of their own: whatever happens to the pods, the digests are the local launcher's."""

from pathlib import Path

import pytest
from cluster_jobs import STEPS, checkpoints, digests, progress, resumed_at, training
from kubernetes_jobs import launcher
from scenarios import the_smoke_recipes_pretraining_has_the_local_digest
from waiting import wait_for

from factory.cluster.api import Phase, attend
from factory.errors import SeedmillError

pytestmark = pytest.mark.ranks
pytest_plugins = ("scenarios",)


def long(value: object) -> object:
    """A case for `make test-long`."""
    return pytest.param(value, marks=pytest.mark.kill)


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


def test_the_smoke_recipes_pretraining_has_the_local_digest(cluster, smoke_home, tmp_path, monkeypatch):
    where = {"launcher": "kubernetes", "image": "seedmill:test", "claims": {str(tmp_path): "work"}, "poll_seconds": 0.5}
    section = where | {"kubeconfig": str(cluster.kubeconfig())}
    the_smoke_recipes_pretraining_has_the_local_digest(tmp_path, smoke_home, section, monkeypatch)
    assert len(cluster.created) == 1
