"""Write docker/requirements.txt: what the images install, at the versions and hashes of requirements.lock, without tools for tests."""

import subprocess
import sys
import tempfile
from pathlib import Path

from lock import without_torch

HEADER = """\
# What the images install, torch apart. Made with `python docker/lock_production.py` from requirements.lock.
"""


def main() -> None:
    """Resolve the production extra under the lock's versions; torch is overridden away, as in docker/lock.py."""
    with tempfile.TemporaryDirectory() as folder:
        override, output = Path(folder) / "override.txt", Path(folder) / "lock"
        override.write_text("torch==2.13.0 ; sys_platform == 'none'\n")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", "--extra", "production", "--universal"]
        options = ["--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header", "--constraint", "requirements.lock"]
        subprocess.run([*command, *options, "--override", str(override), "--output-file", str(output)], check=True)
        lines = output.read_text().splitlines(keepends=True)
    Path("docker/requirements.txt").write_text(HEADER + "".join(without_torch(lines)))


if __name__ == "__main__":
    main()
