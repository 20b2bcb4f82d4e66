import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = [str(TESTS / room) for room in ("kubernetes", "cluster", "training", "core")]
sys.path[:0] = [folder for folder in FOLDERS if folder not in sys.path]
pytest.register_assert_rewrite("scenarios")
INSTALLED = {distribution.name for distribution in metadata.distributions()}

if not {"kubernetes", "kubeflow_trainer_api"} <= INSTALLED and os.environ.get("CI") != "true":
    collect_ignore_glob = ["test_*.py"]  # `make` installs them


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator["VirtualKubernetes"]:  # noqa: F821
    """A cluster of its own for each test: it starts in milliseconds."""
    from virtual_kubernetes import VirtualKubernetes

    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")]))
    with VirtualKubernetes({"PYTHONPATH": os.pathsep.join([str(TESTS.parent), *FOLDERS]), "GLOO_SOCKET_IFNAME": "lo"}) as virtual:
        yield virtual
