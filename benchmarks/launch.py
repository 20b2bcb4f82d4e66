"""What Slurm adds to the start of a training job: seconds from `submit` to the first training step, beside the local launcher.

The same job of one rank over the tests' little world, on the Slurm of two virtual nodes that the tests bring up on this machine
(as root, from Debian's packages). Launchers take turns, so that whatever else the machine does falls on both. A step's time is
the one that it was told with, so how often the orchestrator looks is not in it. Run as `make bench-launch`, which
puts the tests' folders on Python's path.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from machine import surroundings
from rich.console import Console
from rich.table import Table
from slurm_jobs import SECTION, launcher
from training_worlds import World
from virtual_slurm import VirtualSlurm, obstacle

from factory.cluster.api import Launcher, Offsets, attend
from factory.cluster.local import LocalLauncher
from factory.spec import JobSpec

RESULTS = Path(__file__).parent / "results" / "launch.json"
ROUNDS, GOAL = 8, 3.0
PACKAGES = ("torch", "pydantic")
Samples = dict[str, list[float]]


def first_step(cluster: Launcher, spec: JobSpec) -> float:
    """Seconds from the submission to the first step; returns when the job has ended."""
    begin = time.time()
    cluster.submit(spec.key, spec)
    attend(cluster, spec.key, lambda _: None)
    messages = cluster.follow(spec.key, Offsets()).messages
    return next(message["time"] for message in messages if message["kind"] == "progress") - begin


def compare(folder: Path) -> Samples:
    world = World(folder)
    world.add_blend({"web": 1.0})
    launchers: dict[str, Launcher] = {"local": LocalLauncher(folder / "local"), "slurm": launcher(folder / "slurm")}
    samples: Samples = {name: [] for name in launchers}
    for number in range(ROUNDS + 1):
        for name, cluster in launchers.items():
            spec = world.spec("pretrained_checkpoint", "pretrain", {**SECTION, "steps": 2, "layout": {}}, f"{name}{number}")
            found = first_step(cluster, spec.model_copy(update={"key": f"pretrained_checkpoint@{name}#{number}"}))
            if number:  # the first of each reads what later ones find in memory
                samples[name].append(found)
    return samples


def report(samples: Samples) -> list[dict[str, Any]]:
    table = Table("launcher", "median s to the first step", "lowest", "highest")
    for name, values in samples.items():
        table.add_row(name, *(f"{number:.2f}" for number in (statistics.median(values), min(values), max(values))))
    over = [slurm - local for slurm, local in zip(samples["slurm"], samples["local"], strict=True)]
    table.add_row("slurm over local", *(f"{number:.2f}" for number in (statistics.median(over), min(over), max(over))))
    Console().print(table)
    median = statistics.median(over)
    return [{"name": "seconds to the first step, Slurm over local", "value": median, "goal": GOAL, "holds": median <= GOAL}]


def main() -> None:
    if reason := obstacle():
        sys.exit(f"error: no Slurm can be brought up here: {reason}")
    around, cluster = surroundings(*PACKAGES), VirtualSlurm()
    os.environ |= cluster.environment
    try:
        cluster.up()
        around["versions"]["slurm"] = cluster.ask("sbatch", "--version").split()[1]
        with tempfile.TemporaryDirectory() as folder:
            samples = compare(Path(folder))
    finally:
        cluster.down()
    result = {**around, "command": "make bench-launch", "samples": samples, "bars": report(samples)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
