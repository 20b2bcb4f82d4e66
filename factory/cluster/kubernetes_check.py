"""Whether a cluster can take the launcher's jobs, found out without launching one: for `factory doctor`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from factory.cluster.api import UnreachableError
from factory.cluster.config import KubernetesConfig
from factory.cluster.kubernetes_api import EVENT, FORBIDDEN, JOBSET, NOT_FOUND, POD, KubernetesApi, RefusedError, Resource
from factory.cluster.kubernetes_objects import resources
from factory.errors import SeedmillError

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ROLE = "grant the Role in docker/kubernetes/launcher.yaml"


@dataclass(frozen=True)
class Problem:
    """What is not as it should be, and how to mend it."""

    detail: str
    remedy: str


def permissions(config: KubernetesConfig) -> list[tuple[Resource, str, str]]:
    """Everything that the launcher asks of the cluster: kind, subresource, verb."""
    own = [(resource, "", verb) for resource in resources(config) for verb in ("create", "get", "delete")]
    read = [(JOBSET, "", "get"), (POD, "", "list"), (POD, "log", "get"), (EVENT, "", "list")]
    return list(dict.fromkeys([*own, *read]))


def version(api: KubernetesApi) -> str:
    """The cluster's version; raises SeedmillError where it cannot be reached or refuses the credentials."""
    try:
        return json.loads(api.send("GET", "/version"))["gitVersion"]
    except UnreachableError as error:
        raise SeedmillError(f"{error}; check cluster.kubeconfig, cluster.context and the network") from error


def problems(api: KubernetesApi, workspace: Path) -> Iterator[Problem]:
    """What would make a job fail: a workspace out of sight, kinds that are not installed, a missing namespace, claim or permission."""
    if not any(workspace.is_relative_to(mount) for mount in api.config.claims):
        mounts = ", ".join(api.config.claims)
        yield Problem(f"the workspace {workspace} lies under none of cluster.claims ({mounts})", "set SEEDMILL_HOME to a folder on a claim")
    namespace = f"/api/v1/namespaces/{api.namespace}"
    for resource in resources(api.config):
        if not _exists(api, resource.api, resource.plural):
            yield Problem(f"{resource.kind} ({resource.api_version}) is not installed", f"install {resource.installed_by}")
    if not _exists(api, namespace):
        yield Problem(f"no namespace {api.namespace!r}", "create it, or mend cluster.namespace")
        return
    for claim in api.config.claims.values():
        if not _exists(api, f"{namespace}/persistentvolumeclaims/{claim}"):
            yield Problem(f"no claim {claim!r} in namespace {api.namespace}", "create it, or mend cluster.claims")
    refused = [_words(*asked) for asked in permissions(api.config) if not _allowed(api, *asked)]
    if refused:
        yield Problem(f"not permitted in namespace {api.namespace}: {', '.join(refused)}", ROLE)


def _exists(api: KubernetesApi, path: str, plural: str = "") -> bool:
    """Whether there is something at a path (and a kind is served there); what may not be seen is taken to be there."""
    try:
        found = json.loads(api.send("GET", path))
    except RefusedError as error:
        if error.status == FORBIDDEN:
            return True
        if error.status == NOT_FOUND:
            return False
        raise
    return not plural or any(entry["name"] == plural for entry in found["resources"])


def _allowed(api: KubernetesApi, resource: Resource, subresource: str, verb: str) -> bool:
    asked = {"namespace": api.namespace, "verb": verb, "group": resource.group, "resource": resource.plural, "subresource": subresource}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
    return json.loads(api.send("POST", REVIEWS, body=review))["status"]["allowed"]


def _words(resource: Resource, subresource: str, verb: str) -> str:
    return f"{verb} {resource.plural}" + (f"/{subresource}" if subresource else "")
