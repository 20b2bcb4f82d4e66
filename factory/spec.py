"""What goes into a job and what comes out of it, as typed JSON: `job.json` in, `result.json` out."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from factory.errors import SeedmillError


class InputSpec(BaseModel):
    """One exact upstream version: what is read is what is recorded."""

    model_config = ConfigDict(frozen=True)
    asset: str
    version: str
    digest: str
    path: str
    made_from: dict[str, str] = {}
    """The digests of what it was made from, by asset."""


class JobSpec(BaseModel):
    """Everything that a stage needs to run, anywhere. Written as `job.json`; the key names the job for ever."""

    model_config = ConfigDict(frozen=True)
    key: str
    asset: str
    run: str
    section: dict[str, Any]
    seed: int
    inputs: dict[str, InputSpec]
    folder: str
    previous: tuple[str, ...] = ()
    processes: int = 1
    threads: int = 1
    runtime: dict[str, Any] = {}


class Output(BaseModel):
    """One named output: a folder of Parquet parts, a file, or a checkpoint."""

    model_config = ConfigDict(frozen=True)
    name: str
    kind: Literal["records", "file", "checkpoint"]
    files: dict[str, str]
    bytes: int
    digest: str
    rows: int | None = None
    tokens: int | None = None


class Counts(BaseModel):
    """The conservation law of a stage: read = kept + everything dropped by reason; `made` is what it produced anew."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = {}
    made: dict[str, int] = {}

    def check(self, asset: str) -> None:
        """Raise when a record went missing."""
        gone = sum(self.dropped.values())
        if self.read != self.kept + gone:
            raise SeedmillError(
                f"{asset}: read {self.read} records but kept {self.kept} and dropped {gone}; a stage must account for every record"
            )


class Cost(BaseModel):
    """What a stage spent, apart from its own CPU time, which the orchestrator measures."""

    teacher_requests: int = 0
    teacher_input_tokens: int = 0
    teacher_output_tokens: int = 0
    teacher_cache_hits: int = 0
    money: float = 0.0
    gpu_seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        theirs = other.model_dump()
        return Cost(**{name: value + theirs[name] for name, value in self.model_dump().items()})


class Result(BaseModel):
    """`result.json`, written last: a job without it did not finish."""

    outputs: list[Output]
    counts: Counts
    cost: Cost
    metrics: dict[str, Any]
    seeds: dict[str, int]
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0
