"""The launcher of the virtual cluster."""

from pathlib import Path
from typing import Any

from virtual_kubernetes import VirtualKubernetes

from factory.cluster.config import KubernetesConfig
from factory.cluster.kubernetes import KubernetesLauncher


def section(root: Path, **settings: Any) -> KubernetesConfig:
    quick = {"poll_seconds": 0.2, "save_seconds": 20, "ranks_per_pod": 1, "patience_seconds": 30.0}
    where = {"image": "seedmill:test", "claims": {str(root): "work"}, "kubeconfig": "/nonexistent"}
    return KubernetesConfig(launcher="kubernetes", **{**quick, **where, **settings})


def opened(root: Path, **settings: Any) -> KubernetesLauncher:
    return KubernetesLauncher(section(root, **settings), root / "jobs")


def launcher(cluster: VirtualKubernetes, root: Path, **settings: Any) -> KubernetesLauncher:
    return opened(root, **{"kubeconfig": str(cluster.kubeconfig()), **settings})
