"""One attempt, started several times: each start of a requeued job works in a folder of its own, and fences the earlier ones.

ATTEMPT/starts/JOB.RESTART/        where a start works: job.json, parts, out, result.json
ATTEMPT/starts/JOB.RESTART.fenced  the same folder once a later start took over
ATTEMPT/out, ATTEMPT/result.json   what the one start that finished published

A scheduler that loses touch with a node starts its job elsewhere while the old processes go on. They know only the path of
their own folder, so renaming it fences them in one atomic step, without a moment between looking and acting: an old writer
can neither publish nor remove a checkpoint that is being read. It fails at its next message or part.
"""

import itertools
import shutil
from pathlib import Path

from factory.errors import SeedmillError
from factory.parts import write_atomically
from factory.spec import JobSpec

STARTS = "starts"
FENCED = ".fenced"
FRUITLESS_STARTS = 10
"""After so many starts in a row that finish no part, a job is given up."""
MESSAGES = "messages.jsonl"


def start_name(job: int, restart: int) -> str:
    """The name of a start; later starts sort after earlier ones."""
    return f"{job:010d}.{restart:04d}"


def begin(spec: JobSpec, name: str) -> JobSpec | None:
    """Claim start `name` of a job and fence all earlier ones; the specification to run, or None when the job is done already.

    The returned specification works in the start's folder and finds the parts of earlier starts and attempts. Raises
    SeedmillError when a later start has begun: this one was late.
    """
    attempt = Path(spec.folder)
    own = attempt / STARTS / name
    own.parent.mkdir(exist_ok=True)
    own.mkdir()  # before looking around: of two starts at the same moment, the earlier sees the later or is fenced by it
    others = [start for start in _starts(attempt) if start != own]
    late = [start for start in others if start.name > f"{name}{FENCED}"]
    if late:
        raise SeedmillError(f"start {name} of {spec.key} came after start {late[0].name} and ends")
    previous = [_fence(start) for start in others]
    for folder in map(Path, spec.previous):
        previous += [*(_fence(start) for start in _starts(folder)), folder]
    if (attempt / "result.json").exists():
        return None
    shutil.rmtree(attempt / "out", ignore_errors=True)  # of a start that was fenced, or died, between the two steps of `publish`
    (own / MESSAGES).symlink_to(attempt / MESSAGES)
    job = spec.model_copy(update={"folder": str(own), "previous": tuple(map(str, previous))})
    write_atomically(own / "job.json", job.model_dump_json(indent=1).encode())
    return job


def publish(job: JobSpec) -> None:
    """Make the outputs of a finished start those of its attempt, result last. Fails with OSError in a start that was fenced."""
    own = Path(job.folder)
    attempt = own.parent.parent
    (own / "out").rename(attempt / "out")
    (own / "result.json").rename(attempt / "result.json")
    shutil.rmtree(own.parent, ignore_errors=True)  # a fenced writer may still add to its folder: it is nobody's any more


def fruitless(job: JobSpec) -> int:
    """How many starts in a row, the last of them `job`, have finished no part."""
    starts = [Path(folder) for folder in (job.folder, *job.previous) if Path(folder).parent.name == STARTS]
    return len(list(itertools.takewhile(lambda start: not any((start / "parts").glob("[!.]*")), starts)))


def was_claimed(attempt: Path, job: int) -> bool:
    """Whether any start of this job came so far as to claim its folder; those that did count fruitless starts themselves."""
    return any((attempt / STARTS).glob(f"{job:010d}.*"))


def _starts(attempt: Path) -> list[Path]:
    """The folders of all starts of an attempt, newest first."""
    base = attempt / STARTS
    return sorted((path for path in base.iterdir() if path.is_dir()), reverse=True) if base.exists() else []


def _fence(start: Path) -> Path:
    """Move a start's folder from under its writers; a file in its place keeps them from making it anew."""
    if start.name.endswith(FENCED):
        return start
    moved = start.rename(start.with_name(start.name + FENCED))
    start.touch()
    return moved
