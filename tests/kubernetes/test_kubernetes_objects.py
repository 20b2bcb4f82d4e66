"""The objects of a job pass the API's own schemas, closed against unknown fields, and hold what the recipe's section says."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from cluster_jobs import counting
from kubernetes_jobs import section
from schemas import validate

from factory.cluster.config import KubernetesConfig
from factory.cluster.kubernetes_api import Object
from factory.cluster.kubernetes_objects import WORDS, Launch, object_name, objects
from factory.errors import SeedmillError

ROOT = Path("/mnt/space")
FULL = {
    "namespace": "models",
    "service_account": "seedmill-job",
    "pull_secrets": ("registry",),
    "secrets": ("teacher", "bucket"),
    "environment": {"NCCL_SOCKET_IFNAME": "eth0"},
    "claims": {"/mnt/space": "work", "/data/corpus": "corpus"},
    "ranks_per_pod": 8,
    "gpus_per_rank": 1,
    "memory_per_rank": "1.5Gi",
    "node_selector": {"gpu": "h200"},
    "tolerations": ({"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": "team", "operator": "Equal", "value": "a"}),
    "priority_class": "batch",
    "queue": "models",
    "time_limit_seconds": 3600,
    "save_seconds": 90,
}


def made(config: KubernetesConfig, processes: int = 1, used: dict | None = None) -> list[Object]:
    spec = counting(ROOT, 1, processes=processes)
    spec = spec.model_copy(update={"section": {**spec.section, **(used or {})}})
    return [body for _, body in objects(config, spec, Launch("tiny-0123", 7))]


def job_of(items: list[Object]) -> Object:
    spec = items[0]["spec"]
    return (spec["template"]["spec"] if items[0]["kind"] == "TrainingRuntime" else spec)["replicatedJobs"][0]["template"]["spec"]


@pytest.mark.parametrize("kind", ["JobSet", "TrainJob"])
@pytest.mark.parametrize("settings", [{}, FULL], ids=["least", "full"])
def test_every_object_passes_the_strict_schema_of_its_kind(kind, settings):
    items = made(section(ROOT, kind=kind, **settings), processes=8, used={"layout": {"data": 8}})
    assert [item["kind"] for item in items] == (["JobSet"] if kind == "JobSet" else ["TrainingRuntime", "TrainJob"])
    for item in items:
        validate(item)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("spec", {"replicas": 1}),
        ("spec.failurePolicy", {"maxRestart": 1}),
        ("spec.failurePolicy.rules.0", {"onJobFailureReason": []}),
        ("spec.failurePolicy.rules.0", {"action": "Restart"}),
        ("spec.replicatedJobs.0.template.spec", {"activeDeadline": 1}),
        ("spec.replicatedJobs.0.template.spec", {"backoffLimit": "0"}),
        ("spec.replicatedJobs.0.template.spec.template.spec", {"nodeSelectors": {}}),
        ("spec.replicatedJobs.0.template.spec.template.spec.containers.0", {"imagePullPolicies": "Always"}),
        ("spec.replicatedJobs.0.template.spec.template.spec.containers.0.resources", {"limits": {"memory": "64GB!"}}),
    ],
    ids=str,
)
def test_a_typo_anywhere_is_found(place, value):
    (item,) = made(section(ROOT, **FULL))
    part = item
    for name in place.split("."):
        part = part[int(name)] if name.isdigit() else part[name]
    part |= value
    with pytest.raises(jsonschema.ValidationError):
        validate(item)


def test_the_pods_hold_what_the_section_says():
    job = job_of(made(section(ROOT, **FULL), processes=16))
    pod, container = job["template"]["spec"], job["template"]["spec"]["containers"][0]
    assert (job["completions"], job["parallelism"], job["activeDeadlineSeconds"]) == (2, 2, 3600)
    assert container["resources"]["limits"] == {"memory": "12Gi"}
    assert container["resources"]["requests"] == {"cpu": "8", "memory": "12Gi"}
    assert pod["terminationGracePeriodSeconds"] == 90
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "effect": "NoSchedule", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "a"},
    ]
    assert (pod["nodeSelector"], pod["priorityClassName"], pod["serviceAccountName"]) == ({"gpu": "h200"}, "batch", "seedmill-job")
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    assert {path: claims[mounts[path]] for path in FULL["claims"]} == FULL["claims"]
    assert [source["secretRef"]["name"] for source in container["envFrom"]] == ["teacher", "bucket"]
    assert {"name": "NCCL_SOCKET_IFNAME", "value": "eth0"} in container["env"]


def test_the_queue_is_named_where_kueue_looks_for_it():
    (item,) = made(section(ROOT, queue="models"))
    assert item["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "models"


def test_no_value_of_the_orchestrators_environment_reaches_a_manifest(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    monkeypatch.setenv("OPENAI_API_KEY", "hush-hush")
    assert "hush" not in json.dumps(made(section(ROOT, **FULL)))


def test_a_name_belongs_to_a_key_in_a_workspace_and_fits_a_pods_host_name():
    long = "a_very_long_asset/with_a_long_cluster_name@0123456789abcdef#12"
    names = {object_name(long, ROOT), object_name(f"{long}3", ROOT), object_name(long, ROOT / "other"), object_name("7@v#1", ROOT)}
    assert len(names) == 4
    assert object_name(long, ROOT) in names
    for name in names:
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(f"{name}-node-0-999-abcde") <= 63
    assert WORDS + 13 + len("-node-0-999-abcde") <= 63


def test_ranks_that_do_not_fill_their_pods_evenly_are_refused():
    with pytest.raises(SeedmillError, match=r"5 ranks do not divide evenly over 3 pods: change cluster.ranks_per_pod \(2\) or the layout"):
        made(section(ROOT, ranks_per_pod=2), processes=5)


def test_a_workspace_that_no_claim_holds_is_refused():
    with pytest.raises(SeedmillError, match=r"/mnt/space/1 lies under none of cluster.claims \(/elsewhere\).*SEEDMILL_HOME"):
        made(section(ROOT, claims={"/elsewhere": "work"}))


def test_cores_are_for_every_rank_and_gpus_for_jobs_that_use_them():
    training = job_of(made(section(ROOT, **FULL, cores_per_rank=3), processes=16, used={"layout": {"data": 16}}))
    asked = training["template"]["spec"]["containers"][0]["resources"]
    assert asked["limits"] == {"nvidia.com/gpu": "8", "memory": "12Gi"}
    assert asked["requests"] == {"cpu": "24", "nvidia.com/gpu": "8", "memory": "12Gi"}
