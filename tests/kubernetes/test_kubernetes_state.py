"""What conditions and container states, as a cluster writes them, say of a job."""

from typing import Any

from factory.cluster.kubernetes_state import Seen, culprit, hopeless, seen, trouble


def pod(name: str, phase: str = "Running", conditions: tuple[dict, ...] = (), state: dict[str, Any] | None = None, **status: str) -> dict:
    containers = [{"name": "istio-proxy", "state": {"running": {}}}, {"name": "node", "state": state or {}}]
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": f"node-of-{name}"},
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": containers, **status},
    }


def ended(code: int, reason: str, at: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}}


def look(*pods: dict, restarts: int = 0, conditions: tuple[dict, ...] = ()) -> Seen:
    job = {"metadata": {}, "status": {"conditions": list(conditions), "restarts": restarts}}
    return seen("JobSet", "tiny", job, job, list(pods))


def test_the_pod_that_failed_first_is_the_cause_and_one_that_saved_is_not():
    first = pod("b", "Failed", state=ended(137, "OOMKilled", "2026-11-21T10:00:01Z"))
    victims = [pod("a", "Failed", state=ended(1, "Error", "2026-11-21T10:00:09Z")), pod("c", "Failed", state=ended(143, "Error", "2026"))]
    found = culprit(look(*victims, first))
    assert found is not None
    assert (found.name, found.status, found.ending) == ("b", 137, "OOMKilled")
    assert culprit(look(pod("c", "Failed", state=ended(143, "Error", "2026")))) is None


def test_a_pod_that_was_evicted_before_it_ran_says_why():
    found = culprit(look(pod("a", "Failed", reason="Evicted", message="The node was low on resource: memory.")))
    assert found is not None
    assert found.ending == "Evicted: The node was low on resource: memory."


def test_an_interruption_is_told_with_its_reason_and_how_often_it_came():
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": "The node was low\non memory."}
    assert look(pod("a", conditions=(disruption,)), restarts=1).words() == (
        "JobSet tiny is interrupted: pod a: TerminationByKubelet: The node was low on memory., restarted once"
    )
    assert look(pod("a"), pod("b"), restarts=2).words() == "JobSet tiny runs on node-of-a, node-of-b, restarted 2 times"


def test_a_container_that_cannot_be_made_is_trouble_with_a_remedy():
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}
    state = look(pod("a", "Pending", state=waiting))
    stuck = hopeless(state)
    assert stuck is not None
    assert state.state == "stuck"
    assert trouble(stuck).endswith(
        'ImagePullBackOff: Back-off pulling image "x": mend cluster.image, or name the Secret of its registry in cluster.pull_secrets'
    )
    assert hopeless(look(pod("a", "Pending", state={"waiting": {"reason": "ContainerCreating"}}))) is None


def test_a_suspended_job_waits_in_the_queue():
    suspended = {"type": "Suspended", "status": "True", "reason": "SuspendedJobs", "message": ""}
    assert look(conditions=(suspended,)).words() == "JobSet tiny waits in the queue"
