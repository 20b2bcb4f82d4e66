"""Jobs of one rank on the virtual cluster: lost orchestrators, lost nodes, interruptions, refusals, mistakes."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from cluster_jobs import counting, progress
from kubernetes_jobs import launcher, opened
from scenarios import (
    a_killed_orchestrator_is_followed_by_one_that_hears_it_all,
    every_job_of_a_graph_has_the_local_digest,
    orchestrators_that_submit_at_once,
)
from virtual_kubernetes import VirtualKubernetes
from waiting import wait_for

from factory.cluster.api import Offsets, Phase, attend
from factory.cluster.local import LocalLauncher
from factory.errors import SeedmillError


def ended_well(cluster: VirtualKubernetes, launches: int = 1) -> None:
    """Not a launch too many, and no pod that still runs."""
    assert len(cluster.created) == launches
    wait_for(lambda: all(pod["status"]["phase"] in {"Succeeded", "Failed"} for pod in cluster.all("pods")))


@pytest.mark.parametrize("kind", ["JobSet", pytest.param("TrainJob", marks=pytest.mark.kill)])
def test_every_job_of_a_graph_goes_through_the_cluster_and_gives_the_local_digests(cluster, tmp_path, kind):
    every_job_of_a_graph_has_the_local_digest(tmp_path, lambda root: launcher(cluster, root, kind=kind))
    assert [name.partition("/")[0] for name in cluster.created] == (
        ["jobsets"] if kind == "JobSet" else ["trainingruntimes", "trainjobs"]
    ) * 2


@pytest.mark.parametrize("kind", ["JobSet", "TrainJob"])
def test_a_killed_orchestrator_is_followed_by_one_that_finds_its_job_and_hears_it_all(cluster, tmp_path, kind):
    settings = {"kind": kind, "kubeconfig": str(cluster.kubeconfig())}
    again = opened(tmp_path, **settings)
    a_killed_orchestrator_is_followed_by_one_that_hears_it_all(tmp_path, "kubernetes_jobs:opened", again, **settings)
    ended_well(cluster, launches=1 if kind == "JobSet" else 2)


def test_orchestrators_that_submit_at_once_launch_one_job(cluster, tmp_path):
    orchestrators_that_submit_at_once(tmp_path, lambda root: launcher(cluster, root))
    ended_well(cluster)


def test_an_answer_that_is_lost_on_the_way_is_no_second_launch(cluster, tmp_path):
    cluster.drop_answers = 1
    remote, spec = launcher(cluster, tmp_path), counting(tmp_path, 3)
    remote.submit(spec.key, spec)
    assert attend(remote, spec.key, lambda _: None).metrics["writers"] == [0]
    ended_well(cluster)


def test_a_running_job_whose_record_was_lost_is_found_by_its_name(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path), counting(tmp_path, 15, pause=0.2)
    remote.submit(spec.key, spec)
    wait_for(lambda: progress(remote, spec))
    for record in (tmp_path / "jobs").glob("*.json"):
        record.unlink()
    again = launcher(cluster, tmp_path)
    again.submit(spec.key, spec)
    attend(again, spec.key, lambda _: None)
    assert len({m["pid"] for m in progress(again, spec)}) == 1
    ended_well(cluster)


def test_a_cancelled_job_saves_and_leaves_nothing_and_may_be_submitted_again(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path, kind="TrainJob"), counting(tmp_path, 20, pause=0.2)
    remote.submit(spec.key, spec)

    def interrupt(message: dict) -> None:
        if message.get("done", 0) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attend(remote, spec.key, interrupt)
    assert remote.find(spec.key).phase is Phase.DEAD
    assert not cluster.objects
    remote.submit(spec.key, spec)
    attend(remote, spec.key, lambda _: None)
    assert len({m["pid"] for m in progress(remote, spec)}) == 2
    assert len(list((tmp_path / "1" / "out").iterdir())) == 1


def test_a_job_that_waits_for_gpus_says_so_and_starts_when_there_are_some(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path, gpus_per_rank=2), counting(tmp_path, 1)
    spec = spec.model_copy(update={"section": {**spec.section, "layout": {}}})
    remote.submit(spec.key, spec)
    heard: list[str] = []

    def hear(message: dict) -> None:
        heard.append(message.get("text", ""))
        cluster.kubelet.gpus = 2 * any("Insufficient" in text for text in heard)

    attend(remote, spec.key, hear)
    assert any("waits: pod tiny-" in text and "0/2 nodes are available: 2 Insufficient nvidia.com/gpu." in text for text in heard)


def test_a_quota_that_is_used_up_is_said_while_the_job_waits(cluster, tmp_path):
    cluster.controllers.pods_allowed = 0
    remote, spec = launcher(cluster, tmp_path), counting(tmp_path, 1)
    remote.submit(spec.key, spec)
    heard: list[str] = []

    def hear(message: dict) -> None:
        heard.append(message.get("text", ""))
        cluster.controllers.pods_allowed = int(any("exceeded quota" in text for text in heard))

    attend(remote, spec.key, hear)
    assert any("waits in the queue: Error creating: pods" in text and "exceeded quota: small" in text for text in heard)


def test_a_preempted_pod_is_followed_by_one_that_goes_on(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path), counting(tmp_path, 12, pause=0.3)
    remote.submit(spec.key, spec)
    wait_for(lambda: len(progress(remote, spec)) >= 3)
    cluster.preempt()
    heard: list[dict] = []
    result = attend(remote, spec.key, heard.append)
    assert result.metrics["writers"] == [0, 1], "the second start goes on from the parts of the first"
    assert any("restarted once" in m.get("text", "") for m in heard)
    ended_well(cluster)


def test_a_job_at_its_time_limit_goes_on_in_a_new_pod(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path, time_limit_seconds=3), counting(tmp_path, 12, pause=0.5)
    remote.submit(spec.key, spec)
    assert attend(remote, spec.key, lambda _: None).metrics["writers"] == [0, 1]
    ended_well(cluster)


@pytest.mark.kill
def test_a_job_that_is_stopped_before_it_finishes_a_part_ends_after_ten_times(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path, time_limit_seconds=2), counting(tmp_path, 2, run="endless:wait")
    remote.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=r"^tiny@v1#1 was stopped 10 times in a row .*lengthen cluster.time_limit_seconds"):
        attend(remote, spec.key, lambda _: None)
    assert cluster.all("jobsets")[0]["status"]["restarts"] >= 10


def test_a_time_limit_shorter_than_the_start_of_a_program_ends_after_ten_times(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.cluster.kubernetes.FRUITLESS_STARTS", 2)
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    remote, spec = launcher(cluster, tmp_path, time_limit_seconds=1, python=str(slow)), counting(tmp_path, 1)
    remote.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=r"was stopped \d+ times before its program had begun: lengthen cluster.time_limit_seconds"):
        attend(remote, spec.key, lambda _: None)
    wait_for(lambda: not cluster.objects)


@pytest.mark.kill
def test_a_writer_on_a_lost_node_is_fenced_by_the_next_start(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path), counting(tmp_path, 40, pause=0.25)
    remote.submit(spec.key, spec)
    wait_for(lambda: len(progress(remote, spec)) >= 3)
    lost = cluster.lose_node()
    result = attend(remote, spec.key, lambda _: None)
    wait_for(lambda: lost.poll() is not None)
    assert lost.returncode > 0, "the old writer must outlive its node and fail by itself"
    assert result.metrics["writers"] == [0, 1]
    restarts = [m["restart"] for m in progress(remote, spec)]
    assert restarts == sorted(restarts), "a fenced writer was heard after the next start had begun"
    ended_well(cluster)


def test_a_cluster_that_is_away_for_a_while_is_waited_for(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path), counting(tmp_path, 20, pause=0.2)
    remote.submit(spec.key, spec)
    wait_for(lambda: progress(remote, spec))
    cluster.away = True
    back = threading.Timer(1.5, setattr, (cluster, "away", False))
    back.start()
    assert attend(remote, spec.key, lambda _: None).metrics["writers"] == [0]
    back.join()
    ended_well(cluster)


def test_a_cluster_that_stays_away_is_one_error_and_the_job_goes_on(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path, patience_seconds=0.5), counting(tmp_path, 25, pause=0.2)
    remote.submit(spec.key, spec)
    wait_for(lambda: progress(remote, spec))
    cluster.away = True
    with pytest.raises(SeedmillError, match=r"lost touch with job tiny@v1#1, .* go on: .*127.0.0.1:\d+ does not answer.*run again"):
        attend(remote, spec.key, lambda _: None)
    cluster.away = False
    again = launcher(cluster, tmp_path)
    again.submit(spec.key, spec)
    assert attend(again, spec.key, lambda _: None).metrics["writers"] == [0]
    ended_well(cluster)


def test_a_token_that_expires_is_read_anew(cluster, tmp_path):
    config = cluster.kubeconfig()
    remote, spec = launcher(cluster, tmp_path, kubeconfig=str(config)), counting(tmp_path, 10, pause=0.2)
    remote.submit(spec.key, spec)
    config.write_text(config.read_text().replace(cluster.token, "new"))
    cluster.token = "new"
    assert attend(remote, spec.key, lambda _: None).metrics["writers"] == [0]


def test_an_image_that_cannot_be_pulled_ends_the_job_with_the_reason_and_holds_no_place(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.cluster.kubernetes.STUCK_SECONDS", 0.5)
    remote, spec = launcher(cluster, tmp_path, image="seedmill:tset"), counting(tmp_path, 1)
    remote.submit(spec.key, spec)
    with pytest.raises(
        SeedmillError, match=r'cannot start: pod tiny-\S+: ImagePullBackOff: failed .*"seedmill:tset": not found: mend cluster.image'
    ):
        attend(remote, spec.key, lambda _: None)
    wait_for(lambda: not cluster.objects)
    assert remote.find(spec.key).phase is Phase.DEAD


def test_an_image_that_comes_in_time_is_waited_for(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path, image="seedmill:late"), counting(tmp_path, 1)
    remote.submit(spec.key, spec)
    wait_for(lambda: remote.find(spec.key) and "ImagePullBackOff" in str(cluster.all("pods")))
    cluster.kubelet.images.add("seedmill:late")
    assert attend(remote, spec.key, lambda _: None).metrics["writers"] == [0]


def test_a_secret_that_does_not_exist_is_named(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.cluster.kubernetes.STUCK_SECONDS", 0.5)
    remote, spec = launcher(cluster, tmp_path, secrets=("bucket",)), counting(tmp_path, 1)
    remote.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=r'CreateContainerConfigError: secret "bucket" not found: create what is missing'):
        attend(remote, spec.key, lambda _: None)


def test_a_claim_that_does_not_exist_is_named_while_the_job_waits(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path, claims={str(tmp_path): "wrok"}), counting(tmp_path, 1)
    remote.submit(spec.key, spec)
    wait_for(lambda: remote.find(spec.key) and 'persistentvolumeclaim "wrok" not found' in str(remote.follow(spec.key, Offsets()).messages))
    remote.cancel(spec.key)


def test_secrets_become_variables_of_the_job(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path, secrets=("teacher",)), counting(tmp_path, 1, run="endless:tell")
    remote.submit(spec.key, spec)
    assert attend(remote, spec.key, lambda _: None).metrics["key"] == "k"


def test_a_users_mistake_found_in_a_job_reads_as_if_it_were_found_here(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path), counting(tmp_path, 1, run="tiny_stages:refuse")
    remote.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=r"^the section names no source; add one$"):
        attend(remote, spec.key, lambda _: None)


@pytest.mark.kill
def test_ranks_that_the_kernel_kills_end_the_job_with_the_last_lines_of_its_log(cluster, tmp_path):
    remote, spec = launcher(cluster, tmp_path), counting(tmp_path, 100, pause=0.3)
    remote.submit(spec.key, spec)
    wait_for(lambda: progress(remote, spec))
    os.kill(progress(remote, spec)[0]["pid"], signal.SIGKILL)
    with pytest.raises(SeedmillError, match=r"ended as JobSet tiny-\w+: pod tiny-\S+ Error, exit status 137; run again to go on"):
        attend(remote, spec.key, lambda _: None)


def test_a_pod_that_cannot_reach_the_shared_folder_is_heard_through_the_cluster(cluster, tmp_path):
    cluster.kubelet.image_environment["PYTHONPATH"] = "/nowhere"
    remote, spec = launcher(cluster, tmp_path, python="/usr/bin/env"), counting(tmp_path, 1)
    remote.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=r"(?s)ended as JobSet .* exit status 1\d\d.*\n  \| .*env: "):
        attend(remote, spec.key, lambda _: None)


def test_a_job_that_completed_without_a_result_names_the_folder_that_may_not_be_shared(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.cluster.kubernetes.LAG_SECONDS", 0.5)
    remote, spec = launcher(cluster, tmp_path, python="true"), counting(tmp_path, 1)
    remote.submit(spec.key, spec)
    with pytest.raises(SeedmillError, match=rf"completed, but {spec.folder} shows no result: do pods and this machine share it"):
        attend(remote, spec.key, lambda _: None)


REFUSALS = {
    "credentials": ({"kubeconfig": "wrong token"}, r"the cluster refuses the credentials \(Unauthorized\): log in anew"),
    "namespace": ({"namespace": "models"}, r"the cluster has no namespace 'models': create it, or mend cluster.namespace"),
    "never reached": ({"kubeconfig": "wrong server"}, r"127\.0\.0\.1:9 does not answer: .*[Cc]onnection refused"),
    "no kubeconfig": ({"kubeconfig": "/nonexistent"}, r"no cluster is configured \(.*/nonexistent.*\): set cluster.kubeconfig"),
    "context": ({"context": "other"}, r"no cluster is configured \(.*other.*\): set cluster.kubeconfig and cluster.context"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_cluster_that_cannot_be_used_is_one_error(cluster, tmp_path, name):
    settings, message = REFUSALS[name]
    files = {"wrong token": {"token": "guess"}, "wrong server": {"server": "http://127.0.0.1:9"}}
    chosen = {k: str(cluster.kubeconfig(**files[v])) if v in files else v for k, v in settings.items()}
    spec, begin = counting(tmp_path, 1), time.monotonic()
    with pytest.raises(SeedmillError, match=message):
        launcher(cluster, tmp_path, **chosen).submit(spec.key, spec)
    assert time.monotonic() - begin < 5
    assert not cluster.created


@pytest.mark.parametrize(("kind", "absent"), [("JobSet", "jobset.x-k8s.io/v1alpha2"), ("TrainJob", "trainer.kubeflow.org/v1alpha1")])
def test_a_kind_that_is_not_installed_is_named_with_what_installs_it(cluster, tmp_path, kind, absent):
    del cluster.installed[absent]
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=rf"the cluster knows no (JobSet|TrainJob) \({absent}\): install .*https://"):
        launcher(cluster, tmp_path, kind=kind).submit(spec.key, spec)


@pytest.mark.parametrize("verb", ["create", "get"])
def test_a_permission_that_is_missing_is_named(cluster, tmp_path, verb):
    cluster.rules[0]["verbs"].remove(verb)
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=rf"cannot {verb} resource \"jobsets\".*grant the Role in docker/kubernetes/launcher.yaml"):
        launcher(cluster, tmp_path).submit(spec.key, spec)


def test_an_older_cluster_that_does_not_know_a_field_is_an_error_and_no_silent_loss(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.cluster.kubernetes_objects._labels", lambda _: {"a": 1})
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=r"the cluster refuses POST .*strict decoding error"):
        launcher(cluster, tmp_path).submit(spec.key, spec)


def test_without_the_client_the_remedy_is_named(tmp_path, monkeypatch, cluster):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=r"needs its client: pip install 'seedmill\[kubernetes\]'"):
        launcher(cluster, tmp_path).submit(spec.key, spec)


def test_the_local_launcher_and_the_cluster_hear_the_same_lines(cluster, tmp_path):
    heard = []
    for place, name in ((LocalLauncher(tmp_path / "jobs"), "local"), (launcher(cluster, tmp_path), "remote")):
        spec = counting(tmp_path / name, 3)
        lines: list[dict] = []
        place.submit(spec.key, spec)
        attend(place, spec.key, lines.append)
        heard.append([{k: v for k, v in m.items() if k not in {"time", "pid"}} for m in lines if m["kind"] == "progress"])
    assert heard[0] == heard[1]
    assert Path(tmp_path / "remote" / "1" / "log.txt").exists()
