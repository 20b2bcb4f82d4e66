import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

MANIFESTS = Path(__file__).resolve().parents[2] / "docker" / "kubernetes"
OBJECTS = [item for path in sorted(MANIFESTS.glob("*.yaml")) for item in yaml.safe_load_all(path.read_text())]


def pods():
    for item in OBJECTS:
        spec = item.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield item["metadata"]["name"], template


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_manifests_pass_strict_validation(item):
    kubernetes_validate.validate(item, "1.34", strict=True)


def test_a_misspelt_field_is_found():
    item = next(item for item in OBJECTS if item["kind"] == "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**item, "spec": {**item["spec"], "replicaz": 2}}, "1.34", strict=True)


def test_every_pod_is_unprivileged_and_limited():
    found = dict(pods())
    assert set(found) == {"seedmill-code", "seedmill-web", "seedmill-daemon", "seedmill-purge"}
    for name, template in found.items():
        assert template["spec"]["securityContext"]["runAsNonRoot"], name
        for container in template["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"], name
            assert not container["image"].endswith(":latest"), name


def test_every_service_is_probed_and_finds_its_pods():
    labels = {name: template["metadata"]["labels"] for name, template in pods()}
    for item in OBJECTS:
        if item["kind"] == "Deployment":
            container = item["spec"]["template"]["spec"]["containers"][0]
            assert {"startupProbe", "livenessProbe"} <= set(container), item["metadata"]["name"]
            assert item["spec"]["selector"]["matchLabels"].items() <= labels[item["metadata"]["name"]].items()
        if item["kind"] == "Service":
            ports = {port["targetPort"] for port in item["spec"]["ports"]}
            served = [c["ports"] for name, t in pods() if name == item["metadata"]["name"] for c in t["spec"]["containers"]]
            assert ports == {port["name"] for port in served[0]}
            assert item["spec"]["selector"].items() <= labels[item["metadata"]["name"]].items()


def test_no_secret_is_written_into_a_manifest():
    text = "".join(path.read_text() for path in MANIFESTS.glob("*.yaml"))
    assert "kind: Secret" not in text
    assert [item for item in OBJECTS if item["kind"] == "ConfigMap" and any("PASSWORD" in k or "KEY" in k for k in item["data"])] == []


def test_one_file_of_secrets_serves_compose_and_the_pods_which_also_know_where_the_bucket_is():
    given = set(re.findall(r"\$\{(\w+):", (MANIFESTS.parent / "compose.yaml").read_text()))
    (settings,) = [item["data"] for item in OBJECTS if item["kind"] == "ConfigMap"]
    composed = yaml.safe_load((MANIFESTS.parent / "compose.yaml").read_text())["services"]["code"]["environment"]
    assert set(composed) == given | set(settings)
