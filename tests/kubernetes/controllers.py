"""The controllers of Job, JobSet and TrainJob, as their documentation describes them: objects in a dictionary, moved on step by step."""

import copy
import time
import uuid
from collections.abc import Iterator
from typing import Any

from kubelet import Kubelet, condition, is_true, now, suffix

Object = dict[str, Any]
OWNED = {"trainjobs": "jobsets", "jobsets": "jobs", "jobs": "pods"}


class Controllers:
    """All objects of one namespace by plural and name, and what happens to them."""

    def __init__(self, kubelet: Kubelet) -> None:
        self.kubelet = kubelet
        self.objects: dict[tuple[str, str], Object] = {}
        self.pods_allowed = 1000

    def add(self, plural: str, item: Object) -> Object:
        item["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        self.objects[plural, item["metadata"]["name"]] = item = copy.deepcopy(item) | {"status": {}}
        return item

    def step(self) -> None:
        steps = {"trainjobs": self._train_job, "jobsets": self._jobset, "jobs": self._job, "pods": self.kubelet.tend}
        for (plural, name), item in list(self.objects.items()):
            if (plural, name) not in self.objects:
                continue
            if "deletionTimestamp" in item["metadata"] and plural != "pods":
                self._delete(plural, name)
            elif plural in steps:
                steps[plural](item)
            if plural == "pods" and "deletionTimestamp" in item["metadata"] and item["status"]["phase"] in {"Succeeded", "Failed"}:
                self._forget_pod(name, item)

    def _children(self, plural: str, name: str) -> Iterator[Object]:
        for (kind, _), item in list(self.objects.items()):
            if kind == OWNED.get(plural) and item["metadata"]["owner"] == name:
                yield item

    def _delete(self, plural: str, name: str) -> None:
        """Foreground: an object goes when all that it owns has gone."""
        children = list(self._children(plural, name))
        for child in children:
            child["metadata"].setdefault("deletionTimestamp", now())
        if not children:
            del self.objects[plural, name]

    def _forget_pod(self, name: str, pod: Object) -> None:
        """A deleted pod stays until its Job has counted it."""
        owner = self.objects.get(("jobs", pod["metadata"]["owner"]))
        if owner is None or "deletionTimestamp" in owner["metadata"] or is_true(owner, "Failed") or is_true(owner, "Complete"):
            del self.objects["pods", name]

    def _train_job(self, item: Object) -> None:
        name, runtime = item["metadata"]["name"], self.objects["trainingruntimes", item["spec"]["runtimeRef"]["name"]]
        jobset = self.objects.get(("jobsets", name))
        if jobset is None:
            template = runtime["spec"]["template"]
            self.add(
                "jobsets", {"metadata": {"name": name, "owner": name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
            )
            return
        for theirs, ours in (("Completed", "Complete"), ("Failed", "Failed")):
            if is_true(jobset, theirs):
                condition(item, ours, "", "")

    def _jobset(self, item: Object) -> None:
        name = item["metadata"]["name"]
        if is_true(item, "Completed") or is_true(item, "Failed"):
            return
        job = self.objects.get(("jobs", f"{name}-node-0"))
        if job is None:
            self._make_job(name, item)
        elif is_true(job, "Complete"):
            condition(item, "Completed", "AllJobsCompleted", "jobset completed successfully")
        elif is_true(job, "Failed") and "deletionTimestamp" not in job["metadata"]:
            reason = next(c["reason"] for c in job["status"]["conditions"] if c["type"] == "Failed")
            rules = item["spec"]["failurePolicy"]["rules"]
            rule = next(rule for rule in rules if reason in rule.get("onJobFailureReasons", [reason]))
            if rule["action"] == "FailJobSet":
                text = f"jobset failed due to one or more job failures (first failed job: {name}-node-0)"
                condition(item, "Failed", "FailJobSetFailurePolicyAction", text)
                return
            assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
            item["status"]["restarts"] = item["status"].get("restarts", 0) + 1
            job["metadata"]["deletionTimestamp"] = now()

    def _make_job(self, name: str, jobset: Object) -> None:
        template = copy.deepcopy(jobset["spec"]["replicatedJobs"][0]["template"])
        labels = {"jobset.sigs.k8s.io/jobset-name": name, "jobset.sigs.k8s.io/restart-attempt": str(jobset["status"].get("restarts", 0))}
        template["spec"]["template"]["metadata"]["labels"] |= labels
        self.add("jobs", {"metadata": {"name": f"{name}-node-0", "owner": name}, "spec": template["spec"]})

    def _job(self, item: Object) -> None:
        name, spec = item["metadata"]["name"], item["spec"]
        if is_true(item, "Complete") or is_true(item, "Failed"):
            return
        pods = sorted(self._children("jobs", name), key=lambda pod: pod["metadata"]["annotations"]["index"])
        if not item["status"].get("startTime"):
            self._make_pods(name, item)
            return
        phases = [pod["status"]["phase"] for pod in pods]
        late = time.monotonic() - item["status"]["begun"] > spec.get("activeDeadlineSeconds", float("inf"))
        if late and "ending" not in item["status"]:
            item["status"]["ending"] = ("DeadlineExceeded", "Job was active longer than specified deadline")
        failed = next((pod for pod in pods if pod["status"]["phase"] == "Failed"), None)
        if failed and "ending" not in item["status"]:
            item["status"]["ending"] = self._failure(spec, pods)
        if "ending" in item["status"]:
            for pod in pods:
                if pod["status"]["phase"] in {"Pending", "Running"}:
                    pod["metadata"].setdefault("deletionTimestamp", now())
            if all(phase in {"Succeeded", "Failed"} for phase in phases):
                condition(item, "Failed", *item["status"]["ending"])
        elif phases and set(phases) == {"Succeeded"}:
            condition(item, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")

    def _failure(self, spec: Object, pods: list[Object]) -> tuple[str, str]:
        for pod in pods:
            if pod["status"]["phase"] != "Failed":
                continue
            state = next(iter(pod["status"].get("containerStatuses", [])), {}).get("state", {})
            for rule in spec["podFailurePolicy"]["rules"]:
                asked = rule.get("onExitCodes", {}).get("values", [])
                if state.get("terminated", {}).get("exitCode") in asked or any(
                    is_true(pod, c["type"]) for c in rule.get("onPodConditions", [])
                ):
                    return "PodFailurePolicy", f"pod {pod['metadata']['name']} matched a FailJob rule"
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"

    def _make_pods(self, name: str, job: Object) -> None:
        number, template, jobset = job["spec"]["completions"], job["spec"]["template"], job["metadata"]["owner"]
        if number > self.pods_allowed:
            over = f"exceeded quota: small, requested: pods={number}, limited: pods={self.pods_allowed}"
            text = f'Error creating: pods "{name}-0-abcde" is forbidden: {over}'
            event = {
                "metadata": {"name": name},
                "type": "Warning",
                "involvedObject": {"name": name},
                "message": text,
                "lastTimestamp": now(),
            }
            self.objects["events", name] = event
            return
        job["status"] |= {"startTime": now(), "begun": time.monotonic()}
        for index in range(number):
            pod = copy.deepcopy(template)
            labels = pod["metadata"]["labels"] | {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
            pod["metadata"] |= {"name": f"{name}-{index}-{suffix()}", "owner": name, "labels": labels}
            pod["metadata"]["annotations"]["index"] = str(index)
            made = self.add("pods", pod)
            made["status"] = {"phase": "Pending", "podIP": self.kubelet.address(f"{name}-{index}.{jobset}")}
