"""Where jobs run: one small interface, and the launchers behind it."""

from pathlib import Path

from factory.cluster.api import Launcher
from factory.cluster.config import ClusterConfig, KubernetesConfig, SlurmConfig
from factory.cluster.kubernetes import KubernetesLauncher
from factory.cluster.local import LocalLauncher
from factory.cluster.slurm import SlurmLauncher


def open_launcher(config: ClusterConfig, workspace: Path) -> Launcher:
    """The launcher that a recipe names; its registry of jobs lies in the workspace."""
    if isinstance(config, SlurmConfig):
        return SlurmLauncher(config, workspace / "jobs")
    if isinstance(config, KubernetesConfig):
        return KubernetesLauncher(config, workspace / "jobs")
    return LocalLauncher(workspace / "jobs")
