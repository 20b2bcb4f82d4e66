"""What one step of a run read: `python -m factory.training.samples ATTEMPT/job.json STEP`, a line of JSON for each asset.

The records of exposure hold spans of steps. A single step's rows are a function of its number and the job, so they are found
again from the job's own specification, whether it has run, runs or has failed.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from factory.context import Context
from factory.errors import USER_ERROR, SeedmillError
from factory.records import Record
from factory.spec import JobSpec
from factory.training import dpo, midtrain, pretrain, sft
from factory.training.architecture import LayoutConfig
from factory.training.config import DpoConfig, MidtrainConfig, PretrainConfig, SftConfig, TrainingConfig
from factory.training.distributed import joined
from factory.training.rows import Rows

STAGES: dict[str, tuple[type[TrainingConfig], Callable[[Context, Any], Rows]]] = {
    "factory.training.pretrain:run": (PretrainConfig, pretrain.rows_of),
    "factory.training.midtrain:run": (MidtrainConfig, midtrain.rows_of),
    "factory.training.sft:run": (SftConfig, sft.rows_of),
    "factory.training.dpo:run": (DpoConfig, dpo.rows_of),
}


def samples(spec: JobSpec, step: int) -> Iterator[Record]:
    """What step `step` (from 1) read, as in the records of exposure: asset, items, rows, tokens. Nothing of the job is touched."""
    if spec.run not in STAGES:
        raise SeedmillError(f"{spec.asset} runs {spec.run}, which takes no training steps: name the job of a checkpoint")
    kind, rows_of = STAGES[spec.run]
    with tempfile.TemporaryDirectory() as folder, joined(LayoutConfig(), seed=0):
        context = Context.of(spec.model_copy(update={"folder": folder}))
        section = context.section(kind)
        rows, last = rows_of(context, section), section.rows_before(step)
        if step < 1 or last > len(rows):
            raise SeedmillError(f"{spec.asset} has no step {step}: its {len(rows)} rows make fewer steps; count from 1")
        yield from rows.items(range(section.rows_before(step - 1), last))


def main(job: str, step: str) -> None:
    """Print the samples of a step; a user's mistake is one line and exit status 64."""
    try:
        for record in samples(JobSpec.model_validate_json(Path(job).read_bytes()), int(step)):
            sys.stdout.write(json.dumps(record) + "\n")
    except SeedmillError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main(*sys.argv[1:])
