"""A Kubernetes API server in memory, on a loopback port, with controllers and a kubelet that really runs the pods' commands.

It grants what the Role in docker/kubernetes grants, and no more.
"""

import copy
import json
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from controllers import Controllers
from kubelet import Kubelet, condition, now, suffix
from schemas import validate

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "docker" / "kubernetes" / "launcher.yaml"
NAMESPACE, TOKEN = "seedmill", "sesame"
PATH = re.compile(
    r"^/apis?/(?:(?P<group>[^/]+\.[^/]+)/)?(?P<version>v[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?P<log>/log)?$"
)
GROUPS = {"jobset.x-k8s.io/v1alpha2": ["jobsets"], "trainer.kubeflow.org/v1alpha1": ["trainjobs", "trainingruntimes"]}


class RefusalError(Exception):
    def __init__(self, status: int, reason: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message, "details": details}


def role_rules() -> list[dict[str, list[str]]]:
    return next(item["rules"] for item in yaml.safe_load_all(ROLE.read_text()) if item["kind"] == "Role")


class VirtualKubernetes:
    """The cluster. Tests spoil it: `installed`, `rules`, `token`, `away`, `drop_answers`, and what controllers and kubelet have."""

    def __init__(self, image_environment: dict[str, str]) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="kubernetes-"))
        self.kubelet = Kubelet(self.base, image_environment)
        self.controllers = Controllers(self.kubelet)
        self.objects = self.controllers.objects
        self.created: list[str] = []
        self.installed, self.rules, self.token = dict(GROUPS), role_rules(), TOKEN
        self.away = False
        self.drop_answers = 0
        self.crash: Exception | None = None
        self._lock, self._over = threading.RLock(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._threads = [threading.Thread(target=self._server.serve_forever), threading.Thread(target=self._control)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def kubeconfig(self, **changes: str) -> Path:
        """A file as `kubectl` would write it."""
        values = {"server": self.url, "token": TOKEN, "namespace": NAMESPACE} | changes
        path = self.base / f"config-{suffix()}"
        context = {"cluster": "virtual", "user": "tester", "namespace": values["namespace"]}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "main",
            "clusters": [{"name": "virtual", "cluster": {"server": values["server"]}}],
            "users": [{"name": "tester", "user": {"token": values["token"]}}],
            "contexts": [{"name": "main", "context": context}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def __enter__(self) -> "VirtualKubernetes":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        self.kubelet.end_all()
        shutil.rmtree(self.base)
        assert self.crash is None, self.crash

    def all(self, plural: str) -> list[Object]:
        with self._lock:
            return [copy.deepcopy(item) for (kind, _), item in sorted(self.objects.items()) if kind == plural]

    def preempt(self, index: int = 0) -> None:
        """What the scheduler does for a pod of higher priority."""
        with self._lock:
            pod = next(p for (kind, _), p in self.objects.items() if kind == "pods" and p["metadata"]["annotations"]["index"] == str(index))
            condition(
                pod, "DisruptionTarget", "PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"
            )
            pod["metadata"].setdefault("deletionTimestamp", now())

    def lose_node(self) -> subprocess.Popen[bytes]:
        """A node goes out of reach and is given up, while its pod's processes go on: they are returned."""
        with self._lock:
            pod = next(item for (kind, _), item in self.objects.items() if kind == "pods")
            condition(pod, "DisruptionTarget", "DeletionByPodGC", "PodGC: node no longer exists")
            pod["status"]["phase"] = "Failed"
            return self.kubelet.processes.pop(pod["metadata"]["name"])

    # The API server.

    def _handler(cluster) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                return

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                if cluster.away:
                    self.close_connection = True
                    return
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                try:
                    with cluster._lock:
                        cluster._admit(self.headers.get("Authorization", ""))
                        status, found = 200, cluster._serve(self.command, url.path, query, body)
                except RefusalError as refusal:
                    status, found = refusal.status, refusal.body
                if cluster.drop_answers and self.command == "POST":
                    cluster.drop_answers -= 1
                    self.close_connection = True
                    return
                data = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

        return Handler

    def _admit(self, header: str) -> None:
        if header != f"Bearer {self.token}":
            raise RefusalError(401, "Unauthorized", "Unauthorized")

    def _serve(self, method: str, path: str, query: dict[str, str], body: Object) -> Object | bytes:
        if path == "/version":
            return {"gitVersion": "v1.34.0-virtual"}
        if path.endswith("/selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            plural = "/".join(part for part in (asked["resource"], asked["subresource"]) if part)
            return {"status": {"allowed": self._permits(asked["verb"], asked["group"], plural)}}
        if path.removeprefix("/apis/") in GROUPS:
            plurals = self.installed.get(path.removeprefix("/apis/"))
            if plurals is None:
                raise RefusalError(404, "NotFound", "the server could not find the requested resource")
            return {"resources": [{"name": plural} for plural in plurals]}
        if path.startswith("/api/v1/namespaces/") and path.count("/") == 4:
            self._authorize("get", "", "namespaces", "")
            self._in_namespace(path.rpartition("/")[2])
            return {"kind": "Namespace"}
        match = PATH.match(path)
        assert match, path
        return self._objects(method, query=query, body=body, **{k: v or "" for k, v in match.groupdict().items()})

    def _objects(
        self, method: str, group: str, version: str, namespace: str, plural: str, name: str, log: str, query: dict[str, str], body: Object
    ) -> Object | bytes:
        if group and plural not in self.installed.get(f"{group}/{version}", []):
            raise RefusalError(404, "NotFound", "the server could not find the requested resource")
        verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if name else "list")
        self._authorize(verb, group, plural + log, name)
        if log:
            return (self.base / name).read_bytes()
        if verb == "list":
            return {"items": [item for item in self.all(plural) if namespace == NAMESPACE and _selected(item, query)]}
        if verb == "create":
            self._in_namespace(namespace)
            return self._create(plural, body, query)
        if plural == "persistentvolumeclaims" and name in self.kubelet.claims:
            return {"kind": "PersistentVolumeClaim"}
        found = self.objects.get((plural, name)) if namespace == NAMESPACE else None
        if found is None:
            raise RefusalError(404, "NotFound", f'{plural}.{group} "{name}" not found', name=name, kind=plural)
        if verb == "delete":
            assert body["propagationPolicy"] == "Foreground"
            found["metadata"].setdefault("deletionTimestamp", now())
        return found

    def _create(self, plural: str, body: Object, query: dict[str, str]) -> Object:
        name = body["metadata"]["name"]
        assert query["fieldValidation"] == "Strict"
        try:
            validate(body)
        except jsonschema.ValidationError as error:
            raise RefusalError(400, "BadRequest", f"strict decoding error: {error.message}") from error
        if (plural, name) in self.objects:
            raise RefusalError(409, "AlreadyExists", f'{plural} "{name}" already exists', name=name, kind=plural)
        if plural == "trainjobs" and ("trainingruntimes", body["spec"]["runtimeRef"]["name"]) not in self.objects:
            raise RefusalError(422, "Invalid", "specified trainingRuntime must be created before the TrainJob is created", name=name)
        self.created.append(f"{plural}/{name}")
        return self.controllers.add(plural, body)

    def _authorize(self, verb: str, group: str, plural: str, name: str) -> None:
        if not self._permits(verb, group, plural):
            text = f'{plural} "{name}" is forbidden: User "tester" cannot {verb} resource "{plural}" in API group "{group}"'
            raise RefusalError(403, "Forbidden", text, name=name, kind=plural)

    def _permits(self, verb: str, group: str, plural: str) -> bool:
        return any(group in rule["apiGroups"] and plural in rule["resources"] and verb in rule["verbs"] for rule in self.rules)

    def _in_namespace(self, name: str) -> None:
        if name != NAMESPACE:
            raise RefusalError(404, "NotFound", f'namespaces "{name}" not found', name=name, kind="namespaces")

    # The controllers.

    def _control(self) -> None:
        while not self._over.wait(0.05):
            try:
                with self._lock:
                    self.controllers.step()
            except Exception as error:  # noqa: BLE001 (the test's thread shall see it)
                self.crash = error
                return


def _selected(item: Object, query: dict[str, str]) -> bool:
    """Whether labels or fields are those that a selector asks for (equality only)."""
    wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
    if not wanted.items() <= item["metadata"].get("labels", {}).items():
        return False
    fields = dict(part.split("=") for part in query.get("fieldSelector", "").split(",") if part)
    seen = {"involvedObject.name": item.get("involvedObject", {}).get("name"), "type": item.get("type")}
    return all(seen[name] == value for name, value in fields.items())
