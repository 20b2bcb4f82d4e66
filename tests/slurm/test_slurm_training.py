"""Two ranks on two nodes of a real Slurm: whatever happens to the job, its digests are the local launcher's."""

from pathlib import Path

import pytest
from cluster_jobs import resumed_at
from scenarios import the_smoke_recipes_pretraining_has_the_local_digest
from slurm_jobs import STEPS, checkpoints, digests, launcher, training
from virtual_slurm import VirtualSlurm, wait_for

from factory.cluster.api import Offsets, Phase, attend
from factory.cluster.slurm import SlurmLauncher
from factory.spec import JobSpec

pytestmark = [pytest.mark.slurm, pytest.mark.ranks]
pytest_plugins = ("scenarios",)


def steps_of(slurm: SlurmLauncher, spec: JobSpec) -> list[int]:
    """The steps that the job has reported, over all its starts."""
    return [m["done"] for m in slurm.follow(spec.key, Offsets()).messages if m["kind"] == "progress"]


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
    cluster, spec = launcher(tmp_path, time_limit="1", save_seconds=2), training(world, "limited", pause=90 / STEPS)
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
    before = slurm.jobs()
    section = {"launcher": "slurm", "poll_seconds": 0.5}
    the_smoke_recipes_pretraining_has_the_local_digest(tmp_path, smoke_home, section, monkeypatch)
    assert len(slurm.jobs()) == len(before) + 1
