"""Where jobs run. None of it enters an artefact's identity: world size and threads belong to the stages' own sections."""

import re
import sys
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from factory.settings import Section

OWN_OPTIONS = {
    *("--array", "--chdir", "--cpus-per-task", "--dependency", "--job-name", "--no-requeue", "--nodes", "--ntasks", "--ntasks-per-node"),
    *("--open-mode", "--output", "--error", "--parsable", "--partition", "--account", "--signal", "--time", "--wait"),
    *("--gpus", "--gpus-per-node", "--gpus-per-task"),
}
"""Options of sbatch that the launcher sets itself: a second value would break how jobs are found, fenced or stopped."""
OWN_FIELDS = ("partition", "gpu_partition", "account", "time_limit", "ranks_per_node", "cores_per_rank", "gpus_per_rank")

CORES = "cores of each rank; the threads that reckon in it stay the stage's own, as their number changes last bits"
GPUS = "GPUs of each rank of a job that uses them: training, and sampling whose `device` is gpu; other jobs get none"
SECRETIVE = re.compile(r"KEY|TOKEN|PASSW|SECRET|CREDENTIAL")


class LocalConfig(Section):
    """Processes of this machine."""

    launcher: Literal["local"] = Field(default="local", description="`local`: processes of this machine")


class SlurmConfig(Section):
    """Jobs of a Slurm cluster. Workspace and Python environment lie on a file system that nodes and orchestrator share."""

    launcher: Literal["slurm"] = Field(description="`slurm`: batch jobs of a Slurm cluster")
    partition: str = Field(default="", description="partition of every job; empty: the cluster's default")
    account: str = Field(default="", description="account that is charged; empty: the user's default")
    time_limit: str = Field(
        default="", pattern=r"^((\d+-)?\d+(:\d+){0,2})?$", description="as sbatch --time (4:00:00, 2-12); empty: the partition's default"
    )
    ranks_per_node: int = Field(
        default=8, ge=1, description="most ranks of a training job on one node: its GPUs; more ranks take more nodes"
    )
    cores_per_rank: int = Field(default=1, ge=1, description=CORES)
    gpus_per_rank: int = Field(default=0, ge=0, description=GPUS)
    gpu_partition: str = Field(default="", description="partition of jobs that use GPUs; empty: that of all others")
    options: tuple[str, ...] = Field(default=(), description="further options of sbatch, such as --qos=long or --mem-per-cpu=8G")
    setup: tuple[str, ...] = Field(default=(), description="shell lines that a job runs first, such as `module load cuda`")
    ssh: str = Field(default="", description="[USER@]HOST on which Slurm's commands run; empty: this machine")
    secrets: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = Field(
        default=(), description="names of variables of the orchestrator that jobs get, such as OPENAI_API_KEY: over ssh they get no others"
    )
    python: str = Field(default=sys.executable, min_length=1, description="the Python of the jobs, which has seedmill installed")
    save_seconds: int = Field(default=120, ge=1, description="a job is asked to save so long before its time limit, and when cancelled")
    poll_seconds: float = Field(default=5.0, gt=0, description="seconds between two looks into the queue")
    patience_seconds: float = Field(default=600.0, ge=0, description="an unreachable controller or host is tried again for so long")

    @field_validator("time_limit", mode="before")
    @classmethod
    def _is_quoted(cls, value: object) -> object:
        """YAML 1.1 reads 4:00:00 as a number to base 60, so a number may be minutes or seconds."""
        if isinstance(value, int):
            raise ValueError('YAML reads this as a number: put the limit in quotes, as in "4:00:00"')  # noqa: TRY004 (pydantic reports a ValueError)
        return value

    @field_validator("options")
    @classmethod
    def _leaves_the_launcher_its_own(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for option in value:
            name = option.partition("=")[0]
            if not name.startswith("--"):
                raise ValueError(f"{option!r} is no long option: write it as --NAME=VALUE")
            if name in OWN_OPTIONS:
                raise ValueError(f"{name} is set by the launcher: remove it, or use the section's own field ({', '.join(OWN_FIELDS)})")
        return value

    @model_validator(mode="after")
    def _secrets_are_exported(self) -> Self:
        if self.secrets and any(option.partition("=")[0] in {"--export", "--export-file"} for option in self.options):
            raise ValueError("options holds --export, which would keep the variables of `secrets` from the jobs: remove one of the two")
        return self

    @field_validator("ssh")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        if value.startswith("-"):
            raise ValueError(f"{value!r} would be read as an option of ssh: give [USER@]HOST")
        return value


class Toleration(Section):
    """A taint of nodes that the pods put up with, in Kubernetes' own fields."""

    key: str = Field(default="", description="the taint's key; empty with `Exists`: every taint")
    operator: Literal["Exists", "Equal"] = Field(default="Exists", description="whether the taint's value matters")
    value: str = Field(default="", description="the taint's value, with `Equal`")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(default="", description="empty: every effect")


class KubernetesConfig(Section):
    """Jobs of a Kubernetes cluster. The workspace lies on a claim that pods and orchestrator mount at the same path."""

    launcher: Literal["kubernetes"] = Field(description="`kubernetes`: pods of a Kubernetes cluster")
    kind: Literal["JobSet", "TrainJob"] = Field(
        default="JobSet", description="`JobSet`, or `TrainJob` of Kubeflow Trainer v2, which makes a JobSet of it"
    )
    image: str = Field(min_length=1, description="the jobs' image, which has seedmill installed, with its tag or digest")
    python: str = Field(default="python", min_length=1, description="the Python in the image that has seedmill installed")
    claims: dict[str, str] = Field(
        min_length=1, description="persistent volume claims by the path at which pods mount them; one holds the workspace"
    )
    namespace: str = Field(default="", description="empty: the context's, or the orchestrator's own pod's")
    kubeconfig: str = Field(default="", description="empty: the orchestrator's own pod's account, or else $KUBECONFIG or ~/.kube/config")
    context: str = Field(default="", description="context of the kubeconfig; empty: its current one")
    service_account: str = Field(default="", description="account of the pods, which need no permission; empty: the namespace's default")
    pull_secrets: tuple[str, ...] = Field(default=(), description="Secrets with which the image is pulled")
    secrets: tuple[str, ...] = Field(default=(), description="Secrets whose keys become variables of the jobs (S3, teacher)")
    environment: dict[str, str] = Field(default={}, description="further variables of the jobs, such as NCCL_SOCKET_IFNAME; no secrets")
    ranks_per_pod: int = Field(default=8, ge=1, description="most ranks of a training job in one pod: its GPUs; more ranks take more pods")
    cores_per_rank: int = Field(default=1, ge=1, description=CORES)
    gpus_per_rank: int = Field(default=0, ge=0, description=GPUS)
    gpu_resource: str = Field(default="nvidia.com/gpu", min_length=1, description="the name under which nodes offer their GPUs")
    memory_per_rank: str = Field(
        default="",
        pattern=r"^(\d+(\.\d+)?([kMGTP]i?)?)?$",
        description="such as 64Gi; empty: the namespace's default",
    )
    node_selector: dict[str, str] = Field(default={}, description="labels that a node must have")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="taints of nodes that are put up with")
    priority_class: str = Field(default="", description="priority class of the pods; empty: the cluster's default")
    queue: str = Field(default="", description="Kueue's local queue; empty: none")
    user: int = Field(default=10001, ge=1, description="user and group of the pods, who may write to the workspace")
    time_limit_seconds: int = Field(default=0, ge=0, description="a job is stopped, and goes on in new pods, after so long; 0: never")
    save_seconds: int = Field(default=120, ge=1, description="a pod that must go is given so long to save")
    keep_seconds: int = Field(default=86400, ge=0, description="Kubernetes keeps an ended JobSet and its pods for so long")
    poll_seconds: float = Field(default=5.0, gt=0, description="seconds between two looks at the cluster")
    patience_seconds: float = Field(default=600.0, ge=0, description="an unreachable cluster is tried again for so long")

    @field_validator("claims")
    @classmethod
    def _are_absolute(cls, value: dict[str, str]) -> dict[str, str]:
        for path in value:
            if not path.startswith("/") or path.rstrip("/") in {"", "/tmp", "/dev/shm"}:  # noqa: S108 (the pod's own)
                raise ValueError(f"{path!r} is no place for a claim: give an absolute path (/, /tmp and /dev/shm are the pod's own)")
        return value

    @field_validator("environment")
    @classmethod
    def _holds_no_secret(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if SECRETIVE.search(name.upper()):
                raise ValueError(f"{name} looks like a secret, and manifests are read by many: put it into a Secret of cluster.secrets")
        return value


ClusterConfig = Annotated[LocalConfig | SlurmConfig | KubernetesConfig, Field(discriminator="launcher")]
