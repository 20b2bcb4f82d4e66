"""The objects of a job: one JobSet with one indexed Job, whose pods hold the ranks; or a TrainJob over a runtime with the same JobSet.

Every pod runs `factory.cluster.kubernetes_pod`. All pods end together: any that fails fails the Job. What was interrupted from
outside (preemption, eviction, the time limit) is told apart by Kubernetes itself and starts the set anew, where it resumes; all
else fails the set for good.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from factory.cluster.api import uses_gpus
from factory.cluster.config import KubernetesConfig
from factory.cluster.kubernetes_api import JOBSET, RUNTIME, TRAIN_JOB, Object, Resource
from factory.errors import SeedmillError
from factory.spec import JobSpec

NODE = "node"
"""The name of the Job and of its container; Kubeflow Trainer asks for this one."""
STOPPED = 143
RESTART_LABEL = "jobset.sigs.k8s.io/restart-attempt"
JOB_LABEL = "batch.kubernetes.io/controller-uid"
POD_SELECTOR = "jobset.sigs.k8s.io/jobset-name"
KEY = "seedmill/key"
OWNER = {"app.kubernetes.io/managed-by": "seedmill"}
WORDS = 24
"""How much of an asset's name an object's name keeps: a pod's name adds 17 characters to it and must be a DNS label of 63."""


@dataclass(frozen=True)
class Launch:
    """One submission of a job: its name on the cluster, and a number that is higher than those of all launches before."""

    name: str
    number: int


def object_name(key: str, workspace: Path) -> str:
    """The name of a job's objects: always the same for a key in a workspace, as another one may hold the same key."""
    words = re.sub(r"[^a-z0-9]+", "-", key.partition("@")[0].lower()).strip("-")
    sign = hashlib.blake2b(f"{workspace.resolve()}\n{key}".encode(), digest_size=6).hexdigest()
    return f"{words[:WORDS].rstrip('-')}-{sign}" if words[:1].isalpha() else f"job-{sign}"


def objects(config: KubernetesConfig, spec: JobSpec, launch: Launch) -> list[tuple[Resource, Object]]:
    """What to create, in this order; the last one is the job itself."""
    _check_mounts(config, spec)
    jobset = _jobset_spec(config, spec, launch)
    metadata = {"name": launch.name, "labels": _labels(config), "annotations": {KEY: spec.key}}
    if config.kind == "JobSet":
        return [(JOBSET, _object(JOBSET, metadata, jobset))]
    runtime = {"template": {"metadata": {"labels": OWNER}, "spec": jobset}}  # Kueue looks at the TrainJob alone
    reference = {"apiGroup": RUNTIME.group, "kind": RUNTIME.kind, "name": launch.name}
    return [
        (RUNTIME, _object(RUNTIME, metadata | {"labels": OWNER}, runtime)),
        (TRAIN_JOB, _object(TRAIN_JOB, metadata, {"runtimeRef": reference})),
    ]


def resources(config: KubernetesConfig) -> list[Resource]:
    """The kinds of objects that a job has on the cluster, the job itself last."""
    return [JOBSET] if config.kind == "JobSet" else [RUNTIME, TRAIN_JOB]


def head(name: str) -> str:
    """The host name of the first pod, which JobSet's headless service resolves."""
    return f"{name}-{NODE}-0-0.{name}"


def child_job(name: str) -> str:
    """The Job that JobSet makes."""
    return f"{name}-{NODE}-0"


def pods(config: KubernetesConfig, processes: int) -> int:
    """How many pods a job takes; all hold the same number of ranks."""
    number = -(-processes // config.ranks_per_pod)
    if processes % number:
        raise SeedmillError(
            f"{processes} ranks do not divide evenly over {number} pods: "
            f"change cluster.ranks_per_pod ({config.ranks_per_pod}) or the layout"
        )
    return number


def _object(resource: Resource, metadata: Object, spec: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def _labels(config: KubernetesConfig) -> dict[str, str]:
    return {**OWNER, **({"kueue.x-k8s.io/queue-name": config.queue} if config.queue else {})}


def _jobset_spec(config: KubernetesConfig, spec: JobSpec, launch: Launch) -> Object:
    interrupted = ["PodFailurePolicy", "DeadlineExceeded"]
    rules = [
        {"name": "interrupted", "action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": interrupted},
        {"name": "failed", "action": "FailJobSet"},
    ]
    template = {
        "metadata": {"labels": {**OWNER, "trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": _job(config, spec, launch),
    }
    return {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "failurePolicy": {"maxRestarts": 0, "rules": rules},
        "ttlSecondsAfterFinished": config.keep_seconds,
        "replicatedJobs": [{"name": NODE, "replicas": 1, "template": template}],
    }


def _job(config: KubernetesConfig, spec: JobSpec, launch: Launch) -> Object:
    """One index for each pod. A pod that saved because it was asked to (143) counts as interrupted, whoever asked it."""
    number = pods(config, spec.processes)
    asked = {"containerName": NODE, "operator": "In", "values": [STOPPED]}
    rules = [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": asked},
    ]
    limit = {"activeDeadlineSeconds": config.time_limit_seconds} if config.time_limit_seconds else {}
    return {
        "completionMode": "Indexed",
        "completions": number,
        "parallelism": number,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": rules},
        **limit,
        "template": {"metadata": {"labels": OWNER, "annotations": {KEY: spec.key}}, "spec": _pod(config, spec, launch)},
    }


def _pod(config: KubernetesConfig, spec: JobSpec, launch: Launch) -> Object:
    claims = {f"claim-{number}": (path, claim) for number, (path, claim) in enumerate(sorted(config.claims.items()))}
    own = {"tmp": ("/tmp", {"emptyDir": {}}), "shm": ("/dev/shm", {"emptyDir": {"medium": "Memory"}})}  # noqa: S108 (the pod's own)
    places = {name: path for name, (path, _) in (claims | own).items()}
    ranks = spec.processes // pods(config, spec.processes)
    container = {
        "name": NODE,
        "image": config.image,
        "command": [config.python, "-m", "factory.cluster.kubernetes_pod", spec.folder],
        "env": _environment(config, spec, launch),
        "envFrom": [{"secretRef": {"name": name}} for name in config.secrets],
        "resources": _resources(config, spec, ranks),
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in places.items()],
    }
    user = {"runAsUser": config.user, "runAsGroup": config.user, "fsGroup": config.user, "fsGroupChangePolicy": "OnRootMismatch"}
    optional = {
        "serviceAccountName": config.service_account,
        "priorityClassName": config.priority_class,
        "imagePullSecrets": [{"name": name} for name in config.pull_secrets],
        "nodeSelector": config.node_selector,
        "tolerations": [
            toleration.model_dump(exclude_defaults=True) | {"operator": toleration.operator} for toleration in config.tolerations
        ],
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": config.save_seconds,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, **user, "seccompProfile": {"type": "RuntimeDefault"}},
        **{name: value for name, value in optional.items() if value},
        "containers": [container],
        "volumes": [
            *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, (_, claim) in claims.items()),
            *({"name": name, **source} for name, (_, source) in own.items()),
        ],
    }


def _environment(config: KubernetesConfig, spec: JobSpec, launch: Launch) -> list[Object]:
    """How a pod learns which start of which launch it belongs to; its index comes from Kubernetes (JOB_COMPLETION_INDEX)."""
    given = {
        "HOME": "/tmp",  # noqa: S108 (the pod's own)
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(spec.threads),
        **config.environment,
        "SEEDMILL_LAUNCH": str(launch.number),
        "SEEDMILL_HEAD": head(launch.name),
        "SEEDMILL_PODS": str(pods(config, spec.processes)),
    }
    looked_up = {
        "SEEDMILL_RESTART": f"metadata.labels['{RESTART_LABEL}']",
        "SEEDMILL_SET": f"metadata.labels['{JOB_LABEL}']",
        "SEEDMILL_ADDRESS": "status.podIP",
    }
    return [
        *({"name": name, "value": value} for name, value in given.items()),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in looked_up.items()),
    ]


def _resources(config: KubernetesConfig, spec: JobSpec, ranks: int) -> Object:
    """Requests for cores; GPUs and memory as limits, which are requests as well."""
    gpus = ranks * config.gpus_per_rank if uses_gpus(spec) else 0
    limits = {config.gpu_resource: str(gpus)} if gpus else {}
    if config.memory_per_rank:
        limits["memory"] = _times(config.memory_per_rank, ranks)
    return {"requests": {"cpu": str(ranks * max(spec.threads, config.cores_per_rank)), **limits}, **({"limits": limits} if limits else {})}


def _times(quantity: str, number: int) -> str:
    """A quantity with a suffix, so many times."""
    amount, suffix = re.match(r"([\d.]+)(.*)", quantity).groups()  # type: ignore[union-attr]
    return f"{float(amount) * number:.15g}{suffix}"


def _check_mounts(config: KubernetesConfig, spec: JobSpec) -> None:
    """Everything that the job reads or writes must lie on a claim."""
    needed = [spec.folder, *spec.previous, *(entry.path for entry in spec.inputs.values())]
    for path in needed:
        if not any(Path(path).is_relative_to(mount) for mount in config.claims):
            raise SeedmillError(
                f"{path} lies under none of cluster.claims ({', '.join(config.claims)}), so no pod could see it: "
                "mount the claim that holds it there, or set SEEDMILL_HOME to a folder on one"
            )
