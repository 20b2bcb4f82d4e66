"""What a cluster shows of a job, read from its objects' conditions and its pods' container states."""

from dataclasses import dataclass
from typing import Any

from factory.cluster.kubernetes_api import Object
from factory.cluster.kubernetes_objects import NODE, STOPPED

NEVER = {"InvalidImageName", "ErrImageNeverPull"}
STUCK = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "CreateContainerConfigError", "CreateContainerError", *NEVER}
"""Why a container cannot be made. Those of NEVER will not change by themselves; the others may."""
REMEDIES = {
    "CreateContainerConfigError": "create what is missing, or mend cluster.secrets",
    "CreateContainerError": "mend cluster.python and cluster.claims",
}
REMEDY = "mend cluster.image, or name the Secret of its registry in cluster.pull_secrets"


@dataclass(frozen=True)
class PodState:
    """One pod: where it is, what keeps it from starting, how it ended."""

    name: str
    phase: str
    node: str = ""
    waits: str = ""
    stuck: str = ""
    said: str = ""
    interrupted: str = ""
    status: int | None = None
    ending: str = ""
    ended: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended by itself, badly."""
        return self.status not in {None, 0, STOPPED} or (self.phase == "Failed" and self.status is None)


@dataclass(frozen=True)
class Seen:
    """A job's objects at one moment."""

    kind: str
    name: str
    there: bool = False
    leaving: bool = False
    completed: bool = False
    failed: str = ""
    suspended: bool = False
    restarts: int = 0
    pods: tuple[PodState, ...] = ()
    warning: str = ""

    @property
    def active(self) -> bool:
        """Whether the job waits, runs, or is being ended."""
        return self.there and not self.completed and not self.failed

    @property
    def state(self) -> str:
        """Where the job stands, in a word; a change begins a new time."""
        stuck = any(pod.stuck for pod in self.pods)
        return "stuck" if stuck and self.active else "completed" if self.completed else "active" if self.active else "ended"

    def words(self) -> str:
        """Where the job stands, for the people who watch it."""
        again = f", restarted {self.restarts} times" if self.restarts > 1 else ", restarted once" if self.restarts else ""
        return f"{self.kind} {self.name} {self._doing()}{again}"

    def _doing(self) -> str:
        """The first of what may be said: why it ends, why it waits, where it runs."""
        if self.leaving:
            return "is being ended"
        for pod in self.pods:
            if pod.interrupted:
                return f"is interrupted: pod {pod.name}: {pod.interrupted}"
            if pod.waits or pod.stuck:
                return f"waits: pod {pod.name}: {pod.waits or f'{pod.stuck}: {pod.said}'}"
        if self.suspended or not self.pods:
            return "waits in the queue" + (f": {self.warning}" if self.warning else "")
        running = sorted(pod.node for pod in self.pods if pod.phase == "Running")
        if len(running) < len(self.pods):
            return f"starts, {len(running)} of {len(self.pods)} pods run"
        return f"runs on {', '.join(running)}"


def seen(kind: str, name: str, job: Object | None, jobset: Object | None, pods: list[Object], warning: str = "") -> Seen:
    """Read the job itself (a JobSet or TrainJob), the JobSet under it, and its pods."""
    if job is None:
        return Seen(kind, name)
    failed = _condition(job, "Failed")
    return Seen(
        kind,
        name,
        there=True,
        leaving="deletionTimestamp" in job["metadata"],
        completed=any(_condition(job, condition) for condition in ("Completed", "Complete")),
        failed=f"{failed.get('reason', '')}: {failed.get('message', '')}" if failed else "",
        suspended=bool(_condition(job, "Suspended")),
        restarts=(jobset or {}).get("status", {}).get("restarts", 0),
        pods=tuple(sorted((_pod(pod) for pod in pods), key=lambda pod: pod.name)),
        warning=warning,
    )


def hopeless(state: Seen) -> PodState | None:
    """The first pod that cannot start."""
    return next((pod for pod in state.pods if pod.stuck), None)


def trouble(pod: PodState) -> str:
    """Why a pod cannot start, and the remedy."""
    return f"cannot start: pod {pod.name}: {pod.stuck}: {pod.said}: {REMEDIES.get(pod.stuck, REMEDY)}"


def culprit(state: Seen) -> PodState | None:
    """The pod whose bad end came first: those after it are its victims."""
    return min((pod for pod in state.pods if pod.failed), key=lambda pod: (not pod.ended, pod.ended, pod.name), default=None)


def _pod(pod: Object) -> PodState:
    status = pod.get("status", {})
    ours = next((entry for entry in status.get("containerStatuses", []) if entry["name"] == NODE), {})  # a mesh may add its own
    container = ours.get("state", {})
    waiting, ended = container.get("waiting", {}), container.get("terminated", {})
    scheduled, disruption = _condition(pod, "PodScheduled", "False"), _condition(pod, "DisruptionTarget")
    return PodState(
        name=pod["metadata"]["name"],
        phase=status.get("phase", "Pending"),
        node=pod.get("spec", {}).get("nodeName", ""),
        waits=_line(scheduled.get("message")) if scheduled else "",
        stuck=waiting.get("reason", "") if waiting.get("reason") in STUCK else "",
        said=_line(waiting.get("message")),
        interrupted=f"{disruption.get('reason', '')}: {_line(disruption.get('message'))}" if disruption else "",
        status=ended.get("exitCode"),
        ending=ended.get("reason") or ": ".join(_line(status[field]) for field in ("reason", "message") if field in status),
        ended=ended.get("finishedAt") or "",
    )


def _condition(item: Object, kind: str, value: str = "True") -> Object | None:
    conditions: list[dict[str, Any]] = item.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == kind and condition["status"] == value), None)


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
