"""Where jobs run. None of it enters an artefact's identity: world size and threads belong to the stages' own sections."""

import sys
from typing import Annotated, Literal

from pydantic import Field, field_validator

from factory.settings import Section

OWN_OPTIONS = {
    *("--array", "--chdir", "--cpus-per-task", "--dependency", "--job-name", "--no-requeue", "--nodes", "--ntasks", "--ntasks-per-node"),
    *("--open-mode", "--output", "--error", "--parsable", "--partition", "--account", "--signal", "--time", "--wait"),
}
"""Options of sbatch that the launcher sets itself: a second value would break how jobs are found, fenced or stopped."""


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
    options: tuple[str, ...] = Field(default=(), description="further options of sbatch, such as --gpus-per-node=8 or --qos=long")
    setup: tuple[str, ...] = Field(default=(), description="shell lines that a job runs first, such as `module load cuda`")
    ssh: str = Field(default="", description="[USER@]HOST on which Slurm's commands run; empty: this machine")
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
                raise ValueError(f"{name} is set by the launcher: remove it, or use the section's own field")
        return value

    @field_validator("ssh")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        if value.startswith("-"):
            raise ValueError(f"{value!r} would be read as an option of ssh: give [USER@]HOST")
        return value


ClusterConfig = Annotated[LocalConfig | SlurmConfig, Field(discriminator="launcher")]
