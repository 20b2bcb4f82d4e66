"""Where jobs run: one small interface, and the launchers behind it."""

from pathlib import Path

from factory.cluster.api import Launcher
from factory.cluster.config import ClusterConfig
from factory.cluster.local import LocalLauncher


def open_launcher(config: ClusterConfig, workspace: Path) -> Launcher:
    """The launcher that a recipe names; its registry of jobs lies in the workspace."""
    assert config.launcher == "local"
    return LocalLauncher(workspace / "jobs")
