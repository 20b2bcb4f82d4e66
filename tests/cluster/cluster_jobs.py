"""Job specifications that the tests of every distant launcher share."""

from pathlib import Path

from training_worlds import MODEL, SHORT, World, digest_of

from factory.cluster.api import Launcher, Offsets
from factory.spec import JobSpec, Result

STEPS = 100
SECTION = {**SHORT, "model": MODEL, "steps": STEPS, "precision": "fp32", "checkpoint_every": 1000, "layout": {"data": 2}}


def counting(root: Path, to: int, pause: float = 0.0, attempt: int = 1, run: str = "cluster_stages:count", processes: int = 1) -> JobSpec:
    return JobSpec(
        key=f"tiny@v1#{attempt}",
        asset="tiny",
        run=run,
        section={"to": to, "pause": pause},
        seed=1,
        inputs={},
        folder=str(root / str(attempt)),
        processes=processes,
    )


def training(world: World, attempt: str, *previous: str, pause: float | None = None) -> JobSpec:
    """Two ranks over a tiny model; with a `pause` after each step of the first start."""
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION, attempt, processes=2, previous=tuple(previous))
    runtime = spec.runtime if pause is None else {**spec.runtime, "pause": pause}
    return spec.model_copy(update={"run": "cluster_stages:pretrain", "key": f"pretrained_checkpoint@v1#{attempt}", "runtime": runtime})


def digests(result: Result) -> dict[str, str]:
    """Of everything that training leaves."""
    return {name: digest_of(result, name) for name in ("mcore", "hf", "metrics.jsonl", "exposure")}


def checkpoints(attempt: Path) -> list[str]:
    """The checkpoints that the starts of an attempt have saved so far."""
    return sorted(path.name for path in attempt.glob("starts/*/parts/step-*"))


def progress(cluster: Launcher, spec: JobSpec) -> list[dict]:
    """What the job has said of its progress, over all its starts."""
    return [m for m in cluster.follow(spec.key, Offsets()).messages if m["kind"] == "progress"]


def resumed_at(cluster: Launcher, spec: JobSpec) -> list[int]:
    """The steps at which starts of a training job went on."""
    logs = [m["text"] for m in cluster.follow(spec.key, Offsets()).messages if m["kind"] == "log"]
    return [int(text.split()[3]) for text in logs if text.startswith("resumed at step")]
