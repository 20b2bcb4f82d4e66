import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = [str(TESTS / room) for room in ("slurm", "cluster", "training", "core", "deployment")]
sys.path[:0] = [folder for folder in FOLDERS if folder not in sys.path]
pytest.register_assert_rewrite("scenarios")

from virtual_slurm import VirtualSlurm, obstacle  # noqa: E402


@pytest.fixture(scope="session")
def daemons() -> Iterator[VirtualSlurm]:
    """One cluster for all tests; CI must have the packages, elsewhere the tests are skipped."""
    if reason := obstacle():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    cluster = VirtualSlurm()
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def slurm(daemons: VirtualSlurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualSlurm]:
    """The cluster, named by the environment; no job of one test reaches the next."""
    for name, value in daemons.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(FOLDERS))
    yield daemons
    for job in daemons.jobs(states="pending,running,suspended,completing"):
        daemons.ask("scancel", "--quiet", str(job))
