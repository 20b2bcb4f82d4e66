"""What code ran: the commit and the versions of the packages that shape results."""

import functools
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("seedmill", "dagster", "torch", "megatron-core", "transformer-engine", "transformers", "tokenizers", "tiktoken", "numpy")


@functools.cache
def git_commit() -> str:
    """The commit of this source tree, with `+changes` where files differ from it; `unknown` outside of a checkout."""
    root = Path(__file__).resolve().parent.parent
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return commit + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of the installed packages that can change an artefact's content."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
