"""What tests of several rooms share: one undisturbed run of the smoke recipe, made the first time a test asks for it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def interrupts_interrupt() -> None:
    """A shell that runs tests in the background has them ignore Ctrl-C, and so would every command that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a finished smoke run. Tests read it and never write to it."""
    home = tmp_path_factory.mktemp("smoke")
    environment = {**os.environ, "SEEDMILL_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("factory")), "run", "--recipe", str(ROOT / "recipes" / "smoke.yaml"), "--no-live"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture(scope="session")
def trained(smoke_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that went on from the smoke run with a longer pretraining, undisturbed and on this machine."""
    from frozen_training import pretrain

    workspace = tmp_path_factory.mktemp("trained")
    pretrain(smoke_home, workspace)
    return workspace
