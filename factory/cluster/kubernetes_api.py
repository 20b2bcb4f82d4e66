"""A Kubernetes cluster's API: a few kinds of objects as plain JSON, and what each refusal means.

The official client reads the kubeconfig (or the pod's own account), renews tokens and speaks TLS. Its thousand typed models
stay unused: the objects here are two custom resources, and of pods only their status is read.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.cluster.api import UnreachableError
from factory.cluster.config import KubernetesConfig
from factory.errors import SeedmillError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]
ANSWER_SECONDS = (10.0, 60.0)
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
BUSY = {429, 500, 502, 503, 504}
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 401, 403, 404, 409


@dataclass(frozen=True)
class Resource:
    """A kind of object: where its API lies, and what must be installed for it."""

    kind: str
    group: str
    version: str
    plural: str
    installed_by: str = ""

    @property
    def api(self) -> str:
        """The path of the group's API."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def api_version(self) -> str:
        """As manifests name it."""
        return f"{self.group}/{self.version}" if self.group else self.version


JOBSET = Resource("JobSet", "jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet (https://jobset.sigs.k8s.io)")
TRAINER = "Kubeflow Trainer 2 (https://www.kubeflow.org/docs/components/trainer)"
TRAIN_JOB = Resource("TrainJob", "trainer.kubeflow.org", "v1alpha1", "trainjobs", TRAINER)
RUNTIME = Resource("TrainingRuntime", "trainer.kubeflow.org", "v1alpha1", "trainingruntimes", TRAINER)
POD = Resource("Pod", "", "v1", "pods")
EVENT = Resource("Event", "", "v1", "events")


class RefusedError(SeedmillError):
    """The cluster's answer is no; `status` is HTTP's, `detail` the Status object that came with it."""

    def __init__(self, text: str, status: int, detail: Object) -> None:
        super().__init__(text)
        self.status, self.detail = status, detail


@dataclass
class KubernetesApi:
    """Objects of one namespace; raises UnreachableError where trying again may help, and SeedmillError where it cannot."""

    config: KubernetesConfig
    _client: "ApiClient | None" = None
    _namespace: str = field(default="", init=False)

    @property
    def namespace(self) -> str:
        """The namespace of the jobs."""
        self._connected()
        return self._namespace

    def create(self, resource: Resource, body: Object) -> bool:
        """Make an object, unless one of its name exists: then False. A field that the cluster does not know is an error."""
        try:
            self._ask("POST", resource, query={"fieldValidation": "Strict"}, body=body)
        except RefusedError as error:
            if error.status == CONFLICT and error.detail.get("reason") == "AlreadyExists":
                return False
            raise
        return True

    def get(self, resource: Resource, name: str) -> Object | None:
        """The object, or None where there is none of this name."""
        try:
            return self._ask("GET", resource, name)
        except RefusedError as error:
            if _names_an_object(error):
                return None
            raise

    def delete(self, resource: Resource, name: str) -> None:
        """Have an object deleted after everything that belongs to it: pods are asked to end, and given their time."""
        try:
            self._ask("DELETE", resource, name, body={"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"})
        except RefusedError as error:
            if not _names_an_object(error):
                raise

    def select(self, resource: Resource, **query: str) -> list[Object]:
        """The objects that a label or field selector chooses."""
        return self._ask("GET", resource, query=query)["items"]

    def last_lines(self, pod: str, number: int) -> list[str]:
        """The end of what a pod has written to its standard output and error; empty where it is not kept."""
        try:
            text = self.send("GET", f"{self._path(POD, pod)}/log", {"tailLines": str(number)})
        except RefusedError:
            return []
        return text.decode("utf-8", "replace").splitlines()

    def send(self, method: str, path: str, query: dict[str, str] | None = None, body: Object | None = None) -> bytes:
        """One request to any path. Credentials that are refused are read anew once: a token may have expired."""
        status, data = self._request(method, path, query, body)
        if status == UNAUTHORIZED:
            self._client = None
            status, data = self._request(method, path, query, body)
        if status < 300:
            return data
        raise self._refusal(status, data, f"{method} {path}")

    def _ask(self, method: str, resource: Resource, name: str = "", *, query: dict[str, str] | None = None, body: Any = None) -> Object:
        try:
            return json.loads(self.send(method, self._path(resource, name), query, body))
        except RefusedError as error:
            if error.status == NOT_FOUND and not error.detail.get("details", {}).get("name"):
                remedy = (
                    f"install {resource.installed_by}, or choose another cluster.kind" if resource.installed_by else "check the cluster"
                )
                raise SeedmillError(f"the cluster knows no {resource.kind} ({resource.api_version}): {remedy}") from error
            raise

    def _request(self, method: str, path: str, query: dict[str, str] | None, body: Object | None) -> tuple[int, bytes]:
        import urllib3

        client = self._connected()
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        asked = client.param_serialize(method, path, None, list((query or {}).items()), headers, body, auth_settings=["BearerToken"])
        try:
            answer = client.rest_client.request(*asked[:2], headers=asked[2], body=asked[3], _request_timeout=ANSWER_SECONDS)
            return answer.status, answer.read() or b""
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{client.configuration.host} does not answer: {_reason(error)}") from error

    def _connected(self) -> "ApiClient":
        if self._client is None:
            self._client, self._namespace = connect(self.config)
        return self._client

    def _path(self, resource: Resource, name: str = "") -> str:
        return f"{resource.api}/namespaces/{self.namespace}/{resource.plural}" + (f"/{name}" if name else "")

    def _refusal(self, status: int, data: bytes, asked: str) -> SeedmillError:
        """What an answer other than success means, and the remedy."""
        detail = _status_object(data)
        said = detail.get("message") or f"status {status}"
        about = detail.get("details", {})
        if status in BUSY:
            return UnreachableError(f"the cluster cannot answer just now ({asked}: {said})")
        if status == UNAUTHORIZED:
            remedy = "log in anew, or mend cluster.kubeconfig and cluster.context"
            return SeedmillError(f"the cluster refuses the credentials ({said}): {remedy}")
        if status == FORBIDDEN and "exceeded quota" in said:
            return RefusedError(f"a quota of namespace {self.namespace} is used up: {said}; wait, or have it raised", status, detail)
        if status == FORBIDDEN:
            remedy = "grant the Role in docker/kubernetes/launcher.yaml"
            return RefusedError(f"the cluster does not permit {asked}: {said}; {remedy}", status, detail)
        if status == NOT_FOUND and about.get("kind") == "namespaces":
            return SeedmillError(f"the cluster has no namespace {about.get('name')!r}: create it, or mend cluster.namespace")
        return RefusedError(f"the cluster refuses {asked}: {said}", status, detail)


def connect(config: KubernetesConfig) -> "tuple[ApiClient, str]":
    """A client and the namespace of the jobs; in a pod, with the pod's own account unless a kubeconfig is named."""
    try:
        from kubernetes import client
        from kubernetes import config as loader
    except ImportError as error:
        raise SeedmillError("the launcher `kubernetes` needs its client: pip install 'seedmill[kubernetes]'") from error
    settings = client.Configuration()
    settings.retries = 0  # the launcher tries again by itself, and knows which requests may be repeated
    try:
        if _in_a_pod(config):
            loader.load_incluster_config(client_configuration=settings)
            own = (ACCOUNT / "namespace").read_text().strip()
        else:
            loader.load_kube_config(config.kubeconfig or None, config.context or None, client_configuration=settings, persist_config=False)
            own = _context(config).get("namespace", "default")
    except (loader.ConfigException, OSError, KeyError, TypeError, ValueError) as error:
        named = config.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise SeedmillError(
            f"no cluster is configured ({named}: {_reason(error)}): set cluster.kubeconfig and cluster.context, or KUBECONFIG"
        ) from error
    return client.ApiClient(settings), config.namespace or own


def _in_a_pod(config: KubernetesConfig) -> bool:
    named = config.kubeconfig or config.context or os.environ.get("KUBECONFIG")
    return not named and "KUBERNETES_SERVICE_HOST" in os.environ and (ACCOUNT / "token").exists()


def _context(config: KubernetesConfig) -> Object:
    from kubernetes import config as loader

    found: Any = loader.list_kube_config_contexts(config.kubeconfig or None)
    contexts, active = found
    chosen = next((entry for entry in contexts if entry["name"] == config.context), active)
    return chosen["context"]


def _names_an_object(error: RefusedError) -> bool:
    """Whether a 404 says that an object of this name is missing, not that the cluster does not know the kind."""
    return error.status == NOT_FOUND and bool(error.detail.get("details", {}).get("name"))


def _status_object(data: bytes) -> Object:
    """The Status that came with an answer; proxies before the cluster answer in prose."""
    try:
        found = json.loads(data)
    except ValueError:
        return {"message": " ".join(data.decode("utf-8", "replace").split())[:200]}
    return found if isinstance(found, dict) else {}


def _reason(error: BaseException) -> str:
    """The innermost cause in its own words, on one line."""
    reason = getattr(error, "reason", None)
    return _reason(reason) if isinstance(reason, BaseException) else " ".join(str(error).split())
