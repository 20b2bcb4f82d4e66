"""`factory doctor` says of a cluster what a run would otherwise fail on, all at once."""

from pathlib import Path

import pytest
import yaml
from kubernetes_jobs import section
from virtual_kubernetes import VirtualKubernetes, role_rules

from factory.cli.doctor import Finding
from factory.cli.doctor import cluster as examine
from factory.cluster.kubernetes_check import permissions
from factory.recipe import load

SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke.yaml"


def finding(cluster: VirtualKubernetes, home: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Finding:
    monkeypatch.setenv("SEEDMILL_HOME", str(home))
    where = {"launcher": "kubernetes", "image": "seedmill:test", "claims": {str(home): "work"}, "kubeconfig": str(cluster.kubeconfig())}
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(SMOKE.read_text()), "cluster": where | settings}))
    return examine(load(path))


@pytest.mark.parametrize("kind", ["JobSet", "TrainJob"])
def test_a_cluster_that_can_take_jobs_is_named(cluster, tmp_path, monkeypatch, kind):
    found = finding(cluster, tmp_path, monkeypatch, kind=kind)
    assert (found.state, found.detail) == ("ok", f"Kubernetes v1.34.0-virtual, {kind}s in namespace seedmill")


def test_everything_that_is_wrong_is_said_at_once(cluster, tmp_path, monkeypatch):
    cluster.installed.clear()
    cluster.kubelet.claims.clear()
    cluster.rules[0]["verbs"].remove("delete")
    cluster.rules[2]["resources"].remove("events")
    found = finding(cluster, tmp_path, monkeypatch)
    assert found.state == "fail"
    for part in ("JobSet (jobset.x-k8s.io/v1alpha2) is not installed", "no claim 'work'", "delete jobsets, list events"):
        assert part in found.detail
    for part in ("install JobSet", "mend cluster.claims", "docker/kubernetes/launcher.yaml"):
        assert part in found.remedy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"namespace": "models"}, "no namespace 'models'"),
        ({"kubeconfig": "/nonexistent"}, "no cluster is configured (/nonexistent"),
        ({"claims": {"/elsewhere": "work"}}, "lies under none of cluster.claims (/elsewhere)"),
    ],
    ids=str,
)
def test_one_mistake_is_named(cluster, tmp_path, monkeypatch, settings, message):
    found = finding(cluster, tmp_path, monkeypatch, **settings)
    assert found.state == "fail"
    assert message in found.detail


def test_a_cluster_that_cannot_be_reached_or_refuses_is_named(cluster, tmp_path, monkeypatch):
    assert (
        "does not answer" in finding(cluster, tmp_path, monkeypatch, kubeconfig=str(cluster.kubeconfig(server="http://127.0.0.1:9"))).detail
    )
    assert "refuses the credentials" in finding(cluster, tmp_path, monkeypatch, kubeconfig=str(cluster.kubeconfig(token="guess"))).detail


def test_the_shipped_role_grants_all_that_the_launcher_asks_and_nothing_more():
    asked = {
        (resource.group, resource.plural + (f"/{part}" if part else ""), verb)
        for kind in ("JobSet", "TrainJob")
        for resource, part, verb in permissions(section(Path("/mnt/space"), kind=kind))
    }
    seen_by_the_doctor = {("", "namespaces", "get"), ("", "persistentvolumeclaims", "get")}
    rules = [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in role_rules()]
    granted = {(group, plural, verb) for groups, plurals, verbs in rules for group in groups for plural in plurals for verb in verbs}
    assert granted == asked | seen_by_the_doctor
