"""Write requirements.lock: exact versions and hashes of every package but torch, for Python 3.11 and 3.12 alike."""

import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = """\
# Exact versions and hashes of everything but torch, whose build differs by index: `make` installs it first, by version alone.
# Made with `make lock`.
"""


def main() -> None:
    """Resolve with torch overridden away (its CUDA packages would be locked as well), and drop the stub entry."""
    with tempfile.TemporaryDirectory() as folder:
        override, output = Path(folder) / "override.txt", Path(folder) / "lock"
        override.write_text("torch==2.13.0 ; sys_platform == 'none'\n")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", "--extra", "dev", "--universal"]
        options = ["--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header"]
        subprocess.run([*command, *options, "--override", str(override), "--output-file", str(output)], check=True)
        lines = output.read_text().splitlines(keepends=True)
    Path("requirements.lock").write_text(HEADER + "".join(without_torch(lines)))


def without_torch(lines: list[str]) -> list[str]:
    """The lines of the lock without the entry of torch and its hashes."""
    kept, skipping = [], False
    for line in lines:
        if not line.startswith(" "):
            skipping = line.startswith("torch==")
        if not skipping:
            kept.append(line)
    return kept


if __name__ == "__main__":
    main()
