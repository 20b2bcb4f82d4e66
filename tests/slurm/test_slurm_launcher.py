"""Jobs of one rank on a real Slurm: overhead, lost orchestrators, lost nodes, lost controllers, mistakes."""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_jobs import progress
from scenarios import (
    a_killed_orchestrator_is_followed_by_one_that_hears_it_all,
    every_job_of_a_graph_has_the_local_digest,
    orchestrators_that_submit_at_once,
)
from slurm_jobs import LocalLauncher, counting, launcher, ranks_of
from virtual_slurm import VirtualSlurm, wait_for

from factory.cli import doctor
from factory.cluster.api import Launcher, Phase, attend
from factory.errors import SeedmillError
from factory.recipe import Recipe
from factory.spec import JobSpec

pytestmark = pytest.mark.slurm
OVERHEAD_SECONDS = 3.0
ROOT = Path(__file__).resolve().parents[2]


def seconds_to_first_message(cluster: Launcher, spec: JobSpec) -> float:
    begin = time.time()
    cluster.submit(spec.key, spec)
    attend(cluster, spec.key, lambda _: None)
    return progress(cluster, spec)[0]["time"] - begin


def test_a_job_starts_at_most_three_seconds_later_than_a_local_one(slurm, tmp_path):
    local = min(seconds_to_first_message(LocalLauncher(tmp_path / "jobs"), counting(tmp_path / "local", 1, attempt=n)) for n in (1, 2, 3))
    remote = min(seconds_to_first_message(launcher(tmp_path), counting(tmp_path / "slurm", 1, attempt=n)) for n in (1, 2, 3))
    assert remote - local < OVERHEAD_SECONDS


def test_every_job_of_a_graph_goes_through_slurm_and_gives_the_local_digests(slurm, tmp_path):
    before = slurm.jobs()
    every_job_of_a_graph_has_the_local_digest(tmp_path, launcher)
    assert len(slurm.jobs()) == len(before) + 2


def test_a_killed_orchestrator_is_followed_by_one_that_finds_its_job_and_hears_it_all(slurm, tmp_path):
    before = slurm.jobs()
    a_killed_orchestrator_is_followed_by_one_that_hears_it_all(tmp_path, "slurm_jobs:launcher", launcher(tmp_path))
    assert len(slurm.jobs()) == len(before) + 1


def test_orchestrators_that_submit_at_once_queue_one_job(slurm, tmp_path):
    before = slurm.jobs()
    orchestrators_that_submit_at_once(tmp_path, launcher)
    assert len(slurm.jobs()) == len(before) + 1


@pytest.mark.kill
def test_a_writer_on_a_lost_node_is_fenced_by_the_next_start(slurm: VirtualSlurm, tmp_path):
    cluster, spec = launcher(tmp_path), counting(tmp_path, 400, pause=0.25)
    cluster.submit(spec.key, spec)
    wait_for(lambda: len(progress(cluster, spec)) >= 3)
    (job,) = slurm.jobs()[-1:]
    node = slurm.ask("squeue", "-h", f"--jobs={job}", "-o", "%N")
    slurm.kill_node(node)
    try:
        with slurm.hurrying(job):
            wait_for(lambda: slurm.restarts(job) == 1)
            assert ranks_of(job, 0), "the old writer must outlive its node's daemon, or there is nothing to fence"
            result = attend(cluster, spec.key, lambda _: None)
        wait_for(lambda: not ranks_of(job, 0))
    finally:
        slurm.start_node(node)
    assert result.metrics["writers"] == [0, 1], "the second start goes on from the parts of the first"
    restarts = [m["restart"] for m in progress(cluster, spec)]
    assert restarts == sorted(restarts), "a fenced writer was heard after the next start had begun"
    assert slurm.restarts(job) == 1
    assert json.loads((Path(spec.folder) / "out" / "numbers.json").read_text()) == {"to": 400}


def test_a_controller_that_is_away_for_a_while_is_waited_for(slurm, tmp_path):
    cluster, spec = launcher(tmp_path), counting(tmp_path, 20, pause=0.3)
    cluster.submit(spec.key, spec)
    wait_for(lambda: len(progress(cluster, spec)) >= 2)
    slurm.stop_controller()
    back = threading.Timer(3, slurm.start_controller)
    back.start()
    assert attend(cluster, spec.key, lambda _: None).metrics["writers"] == [0]
    back.join()


def test_a_job_that_waits_is_taken_from_the_queue(slurm, tmp_path):
    cluster, spec = launcher(tmp_path, options=("--begin=now+1hour",)), counting(tmp_path, 1)
    cluster.submit(spec.key, spec)
    assert cluster.find(spec.key).phase is Phase.RUNNING
    cluster.cancel(spec.key)
    assert cluster.find(spec.key).phase is Phase.DEAD
    assert not slurm.jobs(states="pending,running")


def test_a_users_mistake_found_in_a_job_reads_as_if_it_were_found_here(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "cluster"))
    cluster, spec = launcher(tmp_path), counting(tmp_path, 1, run="tiny_stages:refuse")
    cluster.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=r"^the section names no source; add one$"):
        attend(cluster, spec.key, lambda _: None)


def test_a_job_that_completed_without_a_result_names_the_folder_that_may_not_be_shared(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.cluster.slurm.LAG_SECONDS", 0.5)
    cluster, spec = launcher(tmp_path, python="true"), counting(tmp_path, 1)
    cluster.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=rf"completed, but {spec.folder} shows no result: do nodes and this machine share it"):
        attend(cluster, spec.key, lambda _: None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "gpu"}, r"Slurm refuses tiny@v1#1 \(partition gpu, account default\): .*Invalid partition name specified"),
        ({"partition": "closed", "account": "chemistry"}, r"\(partition closed, account chemistry\): .*Invalid account"),
        ({"time_limit": "2:00:00"}, r"time limit is invalid"),
        ({"options": ("--gres=gpu:2",)}, r"Invalid generic resource"),
        ({"options": ("--no-such-option",)}, r"mend the recipe's section `cluster`"),
    ],
    ids=["partition", "account", "time", "gpus", "option"],
)
def test_what_slurm_refuses_is_one_error_that_names_it(slurm, tmp_path, settings, message):
    before, spec = slurm.jobs(), counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=message):
        launcher(tmp_path, **settings).submit(spec.key, spec)
    assert slurm.jobs() == before


def test_ranks_that_do_not_fill_their_nodes_evenly_are_refused(slurm, tmp_path):
    spec = counting(tmp_path, 1, processes=5)
    with pytest.raises(SeedmillError, match=r"5 ranks do not divide evenly over 3 nodes"):
        launcher(tmp_path, ranks_per_node=2).submit(spec.key, spec)


def test_a_rank_gets_the_cores_that_the_section_says_and_keeps_the_threads_of_its_stage(slurm, tmp_path):
    cluster, spec = launcher(tmp_path, cores_per_rank=2), counting(tmp_path, 1, run="told_variables:tell")
    cluster.submit(spec.key, spec)
    metrics = attend(cluster, spec.key, lambda _: None).metrics
    assert (metrics["SLURM_CPUS_PER_TASK"], metrics["OMP_NUM_THREADS"]) == ("2", "1")
    assert slurm.ask("squeue", "-h", "--states=all", f"--jobs={slurm.jobs()[-1]}", "-o", "%C") == "2"


def test_gpus_and_their_partition_are_for_jobs_that_use_them(tmp_path):
    cluster, plain = launcher(tmp_path, gpus_per_rank=1, partition="low", gpu_partition="high", ranks_per_node=2), counting(tmp_path, 1)
    sampling = plain.model_copy(update={"section": {"safety": {"sampling": {"device": "gpu"}}}})
    training = plain.model_copy(update={"section": {"layout": {"data": 4}}, "processes": 4})
    found = [[o for o in cluster._options("k", spec) if o.startswith(("--gpus", "--partition"))] for spec in (plain, sampling, training)]
    assert found == [["--partition=low"], ["--gpus-per-node=1", "--partition=high"], ["--gpus-per-node=2", "--partition=high"]]


def test_gpus_that_no_node_has_are_refused_in_slurms_words(slurm, tmp_path):
    spec = counting(tmp_path, 1).model_copy(update={"section": {"layout": {}}})
    with pytest.raises(SeedmillError, match=r"Invalid generic resource"):
        launcher(tmp_path, gpus_per_rank=1).submit(spec.key, spec)


def test_commands_without_a_configuration_are_one_error_with_the_remedy(slurm, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_CONF")
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=r"squeue finds no configuration of a cluster here: set SLURM_CONF there"):
        launcher(tmp_path).submit(spec.key, spec)


def test_the_doctor_says_that_slurm_is_not_configured_and_that_a_judge_over_ssh_gets_no_key(slurm, tmp_path, monkeypatch):
    judge = {"teacher": {"kind": "openai", "model": "m"}}
    smoke = yaml.safe_load((ROOT / "recipes" / "smoke.yaml").read_text())
    smoke["preference"]["judge"] |= judge
    smoke["synthesis"] |= {"teacher": {"kind": "procedural", "price_per_million_input": 0, "price_per_million_output": 0}}

    def found(**section: Any) -> doctor.Finding:
        return doctor.cluster(Recipe.model_validate(smoke | {"cluster": {"launcher": "slurm", **section}}))

    assert found().state == "ok"
    a_stand_in_for_ssh(tmp_path, monkeypatch)
    over = found(ssh="login")
    assert (over.state, over.remedy) == ("warn", "set cluster.secrets to [OPENAI_API_KEY]")
    assert found(ssh="login", secrets=["OPENAI_API_KEY"]).state == "ok"
    monkeypatch.delenv("SLURM_CONF")
    bare = found()
    assert (bare.state, "set SLURM_CONF there" in bare.detail, "its key" in bare.remedy) == ("fail", True, False)


def test_a_secret_that_is_not_set_or_has_two_lines_is_one_error_without_its_value(slurm, tmp_path, monkeypatch):
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=r"^SEEDMILL_TEST_KEY of cluster.secrets is not set here: export it"):
        launcher(tmp_path, secrets=("SEEDMILL_TEST_KEY",)).submit(spec.key, spec)
    monkeypatch.setenv("SEEDMILL_TEST_KEY", "sesame\nopen")
    with pytest.raises(SeedmillError, match=r"^SEEDMILL_TEST_KEY of cluster.secrets holds a line break") as refused:
        launcher(tmp_path, secrets=("SEEDMILL_TEST_KEY",)).submit(spec.key, spec)
    assert "sesame" not in str(refused.value)


def a_stand_in_for_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that runs the command here, unless the returned file exists: then the connection is lost.

    A file `dropped` beside it loses the answer of the next sbatch, once it has done its work; `bare` makes a host without Slurm.
    """
    lost, program = folder / "lost", folder / "bin" / "ssh"
    program.parent.mkdir()
    closed = '{ echo "Connection closed by remote host" >&2; exit 255; }'
    program.write_text(
        f"""#!/bin/sh
        [ -e {lost} ] && {closed}
        [ -e {folder}/bare ] && PATH=/nowhere
        while [ "$1" != -- ]; do shift; done
        case "$2" in sbatch*) [ -e {folder}/dropped ] && {{ rm {folder}/dropped; sh -c "$2" >/dev/null; {closed} }} ;; esac
        exec /bin/sh -c "$2"
        """
    )
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return lost


def test_a_connection_lost_in_mid_run_is_tried_again_and_nothing_is_lost(slurm, tmp_path, monkeypatch):
    lost, before = a_stand_in_for_ssh(tmp_path, monkeypatch), slurm.jobs()
    cluster, spec = launcher(tmp_path, ssh="login"), counting(tmp_path, 12, pause=0.3)
    cluster.submit(spec.key, spec)
    wait_for(lambda: len(progress(cluster, spec)) >= 1)
    lost.touch()
    back = threading.Timer(2, lost.unlink)
    back.start()
    heard: list[dict] = []
    attend(cluster, spec.key, heard.append)
    assert [m["done"] for m in heard if m["kind"] == "progress"] == list(range(1, 13))
    assert len(slurm.jobs()) == len(before) + 1


def test_a_connection_lost_for_good_is_one_error_and_the_job_goes_on(slurm, tmp_path, monkeypatch):
    lost = a_stand_in_for_ssh(tmp_path, monkeypatch)
    cluster, spec = launcher(tmp_path, ssh="login", patience_seconds=1), counting(tmp_path, 20, pause=0.3)
    cluster.submit(spec.key, spec)
    wait_for(lambda: len(progress(cluster, spec)) >= 1)
    lost.touch()
    with pytest.raises(SeedmillError, match=r"lost touch with job tiny@v1#1, .* go on: .*Connection closed.*run again to find it"):
        attend(cluster, spec.key, lambda _: None)
    lost.unlink()
    again = launcher(tmp_path, ssh="login")
    again.submit(spec.key, spec)
    assert len({m["pid"] for m in progress(again, spec)}) == 1
    assert attend(again, spec.key, lambda _: None).metrics["writers"] == [0]


def test_a_host_that_was_never_reached_is_an_error_at_once(slurm, tmp_path, monkeypatch):
    a_stand_in_for_ssh(tmp_path, monkeypatch).touch()
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=r"out of reach \(ssh login: Connection closed"):
        launcher(tmp_path, ssh="login").submit(spec.key, spec)


def test_a_submission_whose_answer_is_lost_is_not_made_twice(slurm, tmp_path, monkeypatch):
    a_stand_in_for_ssh(tmp_path, monkeypatch)
    before, spec, cluster = slurm.jobs(), counting(tmp_path, 3), launcher(tmp_path, ssh="login")
    (tmp_path / "dropped").touch()
    cluster.submit(spec.key, spec)
    assert not (tmp_path / "dropped").exists()
    assert attend(cluster, spec.key, lambda _: None).metrics["writers"] == [0]
    assert len(slurm.jobs()) == len(before) + 1


def test_a_host_without_slurm_is_one_error(slurm, tmp_path, monkeypatch):
    a_stand_in_for_ssh(tmp_path, monkeypatch)
    (tmp_path / "bare").touch()
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=r"no squeue on login: run on a login node of the cluster, or name one in cluster.ssh"):
        launcher(tmp_path, ssh="login").submit(spec.key, spec)


@pytest.mark.parametrize(("there", "missing"), [((), "squeue"), (("squeue",), "sbatch")], ids=["nothing", "all but sbatch"])
def test_no_sbatch_on_the_path_is_one_error(slurm, tmp_path, monkeypatch, there, missing):
    for name in there:
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    spec = counting(tmp_path, 1)
    remedy = "run on a login node of the cluster, or name one in cluster.ssh"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(SeedmillError, match=f"no {missing} on the path: {remedy}"):
            launcher(tmp_path).submit(spec.key, spec)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path) -> Path:
    """Take what is left of a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(1024)):
            pass
    return filler


def test_a_disk_that_fills_up_under_a_job_and_its_log_is_one_error_and_the_next_attempt_goes_on(slurm, tmp_path, disk):
    cluster, spec = launcher(tmp_path), counting(disk, 40, pause=0.2)
    cluster.submit(spec.key, spec)
    wait_for(lambda: len(progress(cluster, spec)) >= 3)
    filler = fill(disk)
    with pytest.raises(SeedmillError, match=rf"^no room left to write {disk}.*: free some"):
        attend(cluster, spec.key, lambda _: None)
    made = len([*disk.glob("1/starts/*/parts/n*")])
    assert made >= 3
    filler.unlink()
    following = counting(disk, 40, attempt=2).model_copy(update={"previous": (spec.folder,)})
    cluster.submit(following.key, following)
    attend(cluster, following.key, lambda _: None)
    assert len([*disk.glob("1/starts/*/parts/n*")]) == made, "what the first attempt had made was lost"
    assert json.loads((disk / "2" / "out" / "numbers.json").read_text()) == {"to": 40}


@pytest.mark.kill
def test_ranks_that_the_kernel_kills_end_the_job_with_the_last_lines_of_its_log(slurm, tmp_path):
    cluster, spec = launcher(tmp_path), counting(tmp_path, 100, pause=0.3)
    cluster.submit(spec.key, spec)
    wait_for(lambda: len(progress(cluster, spec)) >= 1)
    os.kill(progress(cluster, spec)[0]["pid"], signal.SIGKILL)
    with pytest.raises(SeedmillError, match=r"(?s)FAILED \(NonZeroExitCode, exit status 137\); run again to go on.*\| "):
        attend(cluster, spec.key, lambda _: None)
