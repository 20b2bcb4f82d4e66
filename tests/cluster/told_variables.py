"""A stage that tells what it was given in its environment."""

import hashlib
import os

from factory.context import Context

PLAIN = ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS")
SECRET = "SEEDMILL_TEST_KEY"


def tell(context: Context) -> None:
    """Tell some variables, and of a secret only what shows that it is the right one."""
    context.metrics |= {name: os.environ.get(name, "") for name in PLAIN}
    context.metrics["secret"] = hashlib.sha256(os.environ.get(SECRET, "").encode()).hexdigest()
    context.write_json("told.json", {})
