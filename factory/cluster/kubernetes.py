"""Jobs of a Kubernetes cluster. The job's object is named after the key, so the cluster itself is the record of what runs.

Everything else lies in the attempt's folder, on a claim that the pods share with the orchestrator: what the job says, and the
result that it publishes last. A published result ends the watch at once; the cluster is asked only every few seconds.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from factory.cluster.api import LAST_LINES, JobState, News, Offsets, Phase
from factory.cluster.config import KubernetesConfig
from factory.cluster.files import read_news
from factory.cluster.kubernetes_api import EVENT, JOBSET, POD, KubernetesApi, Object, Resource
from factory.cluster.kubernetes_objects import POD_SELECTOR, Launch, child_job, object_name, objects, resources
from factory.cluster.kubernetes_state import NEVER, PodState, Seen, culprit, hopeless, seen, trouble
from factory.cluster.starts import FRUITLESS_STARTS, was_claimed
from factory.cluster.watch import Look, Watch
from factory.locks import alone
from factory.parts import write_atomically
from factory.spec import JobSpec

LAG_SECONDS = 60.0
"""How long a file that a pod has written may stay unseen here: NFS clients cache a folder for up to a minute."""
STUCK_SECONDS = 60.0
"""How long an image may fail to be pulled: a registry may be away for a moment."""
KILL_SECONDS = 60.0


@dataclass
class KubernetesLauncher:
    """Creates and finds jobs; `registry` holds the folder and one lock for each key."""

    config: KubernetesConfig
    registry: Path
    _told: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = KubernetesApi(self.config)
        self._watch = Watch(self._see, lambda it: it.state, self.config.poll_seconds, self.config.patience_seconds)

    def submit(self, key: str, spec: JobSpec) -> None:
        """Create the job unless one with this key waits or runs, or has finished in the same folder."""
        with alone(self._path(key).with_suffix(".lock")):
            self._watch.forget(key)
            state = self.find(key)
            if state.phase is Phase.RUNNING or (state.phase is Phase.FINISHED and state.folder == Path(spec.folder)):
                return
            folder = Path(spec.folder)
            launch = Launch(self._name(key), max(int(time.time()), self._read(key).get("launch", 0) + 1))
            wanted = objects(self.config, spec, launch)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "job.json", spec.model_dump_json(indent=1).encode())
            write_atomically(self._path(key), json.dumps({"key": key, "folder": str(folder), "launch": launch.number}).encode())
            self._watch.patiently(lambda: self._launch(key, wanted))
            self._watch.forget(key)

    def find(self, key: str) -> JobState:
        """Where the job stands. While the cluster cannot be asked, as it was last seen; after a while UnreachableError.

        A job whose pods can never start is removed: it would hold its place, and might start when nobody waits for it.
        """
        record = self._read(key)
        if not record:
            return JobState(Phase.ABSENT)
        folder = Path(record["folder"])
        if (folder / "result.json").exists():
            return JobState(Phase.FINISHED, folder)
        look = self._watch.look(key)
        if pod := self._cannot_start(look):
            self._remove(key)
            return JobState(Phase.DEAD, folder, None, trouble(pod))
        if look.seen.active and look.seen.restarts >= FRUITLESS_STARTS and not was_claimed(folder, record["launch"]):
            self._remove(key)
            times = f"was stopped {look.seen.restarts} times before its program had begun"
            return JobState(Phase.DEAD, folder, None, f"{times}: lengthen cluster.time_limit_seconds")
        if look.seen.active or (look.seen.completed and look.asked - look.since < LAG_SECONDS):
            return JobState(Phase.RUNNING, folder)
        return self._dead(look.seen, folder)

    def follow(self, key: str, offsets: Offsets) -> News:
        """The whole lines that the job wrote after `offsets`, and where it stands on the cluster when that has changed."""
        record, look = self._read(key), self._watch.last(key)
        if not record:
            return News(offsets)
        news = read_news(Path(record["folder"]), offsets)
        text = look.seen.words() if look and look.seen.active else ""
        if text and self._told.get(key) != text:
            self._told[key] = text
            news.messages.append({"kind": "log", "text": text})
        return news

    def cancel(self, key: str) -> None:
        """Delete the job: its pods save and end, and are killed after `save_seconds`. Returns when all are gone."""
        self._clear(key)
        self._watch.forget(key)

    def _launch(self, key: str, wanted: list[tuple[Resource, Object]]) -> None:
        """Create the objects, unless an earlier try did, whose answer was lost on the way. Their name can be taken only once."""
        now = self._see(key)
        if now.active and not now.leaving:
            return
        if self._remains(key):
            self._clear(key)
        for resource, body in wanted:
            self.api.create(resource, body)

    def _clear(self, key: str) -> None:
        """Delete what is there of the job, and wait until its name is free."""
        deadline = time.monotonic() + self.config.save_seconds + KILL_SECONDS
        self._remove(key)
        while self._remains(key):
            if time.monotonic() > deadline:
                return  # a node that is out of reach holds a pod back; what may still run there is fenced
            time.sleep(min(1.0, self.config.poll_seconds))

    def _remove(self, key: str) -> None:
        for resource in reversed(resources(self.config)):
            self._watch.patiently(lambda resource=resource: self.api.delete(resource, self._name(key)))

    def _remains(self, key: str) -> bool:
        name = self._name(key)
        kinds = dict.fromkeys([*resources(self.config), JOBSET])
        return any(self._watch.patiently(lambda kind=kind: self.api.get(kind, name)) for kind in kinds) or bool(
            self._watch.patiently(lambda: self._pods(name))
        )

    def _see(self, key: str) -> Seen:
        name, resource = self._name(key), resources(self.config)[-1]
        job = self.api.get(resource, name)
        if job is None:
            return seen(resource.kind, name, None, None, [])
        jobset = job if resource is JOBSET else self.api.get(JOBSET, name)
        pods = self._pods(name)
        return seen(resource.kind, name, job, jobset, pods, "" if pods else self._warning(name))

    def _pods(self, name: str) -> list[Object]:
        return self.api.select(POD, labelSelector=f"{POD_SELECTOR}={name}")

    def _warning(self, name: str) -> str:
        """Why no pod is made, such as a quota that is used up: only an event tells."""
        events = [
            event
            for it in (name, child_job(name))
            for event in self.api.select(EVENT, fieldSelector=f"involvedObject.name={it},type=Warning")
        ]
        newest = max(events, key=lambda event: event.get("lastTimestamp") or event["metadata"].get("creationTimestamp") or "", default={})
        return " ".join(newest.get("message", "").split())

    def _cannot_start(self, look: Look[Seen]) -> PodState | None:
        pod = hopeless(look.seen) if look.seen.active else None
        return pod if pod and (pod.stuck in NEVER or look.asked - look.since > STUCK_SECONDS) else None

    def _dead(self, state: Seen, folder: Path) -> JobState:
        if not state.there:
            return JobState(Phase.DEAD, folder, None, "is not on the cluster: it was cancelled, or ended long ago without a result")
        if state.completed:
            return JobState(Phase.DEAD, folder, 0, f"completed, but {folder} shows no result: do pods and this machine share it?")
        pod = culprit(state)
        if pod is None:
            return JobState(Phase.DEAD, folder, None, f"ended as {state.kind} {state.name}: {state.failed}")
        status = "" if pod.status is None else f", exit status {pod.status}"
        own = "" if (folder / "log.txt").exists() else "".join(f"\n  | {line}" for line in self.api.last_lines(pod.name, LAST_LINES))
        return JobState(Phase.DEAD, folder, pod.status, f"ended as {state.kind} {state.name}: pod {pod.name} {pod.ending}{status}{own}")

    def _name(self, key: str) -> str:
        return object_name(key, self.registry)

    def _path(self, key: str) -> Path:
        return self.registry / f"{key.replace('/', '.')}.kubernetes.json"

    def _read(self, key: str) -> Object:
        path = self._path(key)
        return json.loads(path.read_bytes()) if path.exists() else {}
