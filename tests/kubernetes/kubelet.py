"""The nodes of the virtual cluster: pods are processes of this machine, each with an address of its own on the loopback network."""

import os
import random
import signal
import string
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NODES = ("n1", "n2")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def condition(item: dict[str, Any], kind: str, reason: str, message: str, value: str = "True") -> None:
    """Set a condition of an object."""
    conditions = item["status"].setdefault("conditions", [])
    conditions[:] = [other for other in conditions if other["type"] != kind]
    conditions.append({"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": now()})


def is_true(item: dict[str, Any], kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in item["status"].get("conditions", []))


@dataclass
class Kubelet:
    """Schedules pods and runs their commands, with nothing of this process' environment but what an image would bring."""

    logs: Path
    image_environment: dict[str, str]
    images: set[str] = field(default_factory=lambda: {"seedmill:test"})
    claims: set[str] = field(default_factory=lambda: {"work"})
    secrets: dict[str, dict[str, str]] = field(default_factory=lambda: {"teacher": {"OPENAI_API_KEY": "k"}})
    gpus: int = 0
    names: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    deadlines: dict[str, float] = field(default_factory=dict)
    started: int = 0

    def address(self, host: str) -> str:
        """A new address for a host name, which the cluster's name service then answers."""
        number = len(self.names) + 2
        self.names[host] = f"127.77.{number // 250}.{number % 250 + 1}"
        return self.names[host]

    def tend(self, pod: dict[str, Any]) -> None:
        """Move one pod a step on."""
        if pod["status"]["phase"] in {"Succeeded", "Failed"}:
            return
        if pod["metadata"]["name"] in self.processes:
            self._look_after(pod)
        elif "deletionTimestamp" in pod["metadata"]:
            pod["status"]["phase"] = "Failed"
        elif reason := self._cannot_be_placed(pod):
            condition(pod, "PodScheduled", "Unschedulable", reason, "False")
        elif not self._cannot_be_made(pod):
            self._start(pod)

    def ask_to_end(self, pod: dict[str, Any]) -> None:
        """SIGTERM now, SIGKILL when the pod's time is over."""
        name = pod["metadata"]["name"]
        process = self.processes.get(name)
        if process and name not in self.deadlines:
            self.deadlines[name] = time.monotonic() + pod["spec"]["terminationGracePeriodSeconds"]
            process.send_signal(signal.SIGTERM)

    def end_all(self) -> None:
        for process in self.processes.values():
            self._kill(process)

    def _cannot_be_placed(self, pod: dict[str, Any]) -> str:
        asked = pod["spec"]["containers"][0]["resources"]["requests"]
        wanted = {v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v}
        if missing := wanted - self.claims:
            return f'persistentvolumeclaim "{missing.pop()}" not found'
        if int(asked.get("nvidia.com/gpu", "0")) > self.gpus:
            return f"0/{len(NODES)} nodes are available: {len(NODES)} Insufficient nvidia.com/gpu."
        condition(pod, "PodScheduled", "", "")
        pod["spec"].setdefault("nodeName", NODES[self.started % len(NODES)])
        return ""

    def _cannot_be_made(self, pod: dict[str, Any]) -> bool:
        container = pod["spec"]["containers"][0]
        waiting: dict[str, str] = {}
        if container["image"] not in self.images:
            text = f'failed to pull image "{container["image"]}": not found'
            first = not pod["status"].get("containerStatuses")
            waiting = {"reason": "ErrImagePull" if first else "ImagePullBackOff", "message": text}
        for source in container["envFrom"]:
            if source["secretRef"]["name"] not in self.secrets:
                waiting = {"reason": "CreateContainerConfigError", "message": f'secret "{source["secretRef"]["name"]}" not found'}
        if waiting:
            pod["status"]["containerStatuses"] = [{"name": "node", "state": {"waiting": waiting}}]
        return bool(waiting)

    def _start(self, pod: dict[str, Any]) -> None:
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
        with (self.logs / name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                container["command"], env=self._environment(pod), stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT
            )
        self.started += 1
        pod["status"] |= {"phase": "Running", "containerStatuses": [{"name": "node", "state": {"running": {"startedAt": now()}}}]}

    def _environment(self, pod: dict[str, Any]) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {"PATH": path, **self.image_environment, "JOB_COMPLETION_INDEX": pod["metadata"]["annotations"]["index"]}
        for source in pod["spec"]["containers"][0]["envFrom"]:
            given |= self.secrets[source["secretRef"]["name"]]
        for entry in pod["spec"]["containers"][0]["env"]:
            given[entry["name"]] = entry["value"] if "value" in entry else self._field(pod, entry["valueFrom"]["fieldRef"]["fieldPath"])
        return {name: self.names.get(value, value) for name, value in given.items()}  # where a pod would ask the cluster's DNS

    def _field(self, pod: dict[str, Any], path: str) -> str:
        if path == "status.podIP":
            return pod["status"]["podIP"]
        return pod["metadata"]["labels"].get(path.removeprefix("metadata.labels['").removesuffix("']"), "")

    def _look_after(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        process, late = self.processes[name], time.monotonic() > self.deadlines.get(name, float("inf"))
        if "deletionTimestamp" in pod["metadata"]:
            self.ask_to_end(pod)
        if late:
            self._kill(process)
        if (code := process.poll()) is not None:
            self._kill(process)
            status = code if code >= 0 else 128 - code
            ended = {"exitCode": status, "reason": "Error" if status else "Completed", "finishedAt": now()}
            pod["status"] |= {
                "phase": "Failed" if status else "Succeeded",
                "containerStatuses": [{"name": "node", "state": {"terminated": ended}}],
            }
            del self.processes[name]

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """A container's processes end with its first one."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait()


def suffix() -> str:
    return "".join(random.choices(string.ascii_lowercase, k=5))
