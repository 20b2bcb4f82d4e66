"""One rank of several jobs, one after the other in one process: imports, the dearest part, are paid once for all layouts."""

import os
import sys
from pathlib import Path

import torch
from rows_end_to_end import lay_end_to_end
from training_worlds import LetterEncoder

from factory.job import run_stage
from factory.spec import JobSpec
from factory.tokens import tokenizer
from factory.training import outputs
from factory.training.distributed import is_main
from factory.training.launch import RENDEZVOUS, end_with_launcher
from factory.training.trainer import write_metrics


def write_only_metrics(context, trainer, *_, **__):
    """Checkpoints at every layout are another test's; here only losses are compared."""
    if is_main():
        write_metrics(context.out / "metrics.jsonl", trainer.metrics)


def main(specs):
    """Run the jobs that the files named in `specs` describe; each meets its other ranks at a file beside its own."""
    torch.set_num_threads(1)
    outputs.write = write_only_metrics
    tokenizer.load = lambda _: LetterEncoder()
    for path in map(Path, specs):
        lay_end_to_end(setattr, wanted="end-to-end" in path.parent.name)
        os.environ[RENDEZVOUS] = str(path.with_name("rendezvous"))
        run_stage(JobSpec.model_validate_json(path.read_bytes()))


if __name__ == "__main__":
    end_with_launcher()
    main(sys.argv[1:])
