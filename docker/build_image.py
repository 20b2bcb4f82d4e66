"""Build the CPU image without a container engine and without a registry of images: `python docker/build_image.py`, as root.

Its base is made of Debian's packages (the distribution and Python series of `python:3.11-slim-bookworm`, another patch level) and
put into buildah's storage under the name that the Dockerfile asks for; the Dockerfile itself is built as it is. Needs
`apt-get install buildah mmdebstrap`. What the image runs is tried by `pytest tests/deployment/test_image.py`.
"""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

CHECKOUT = Path(__file__).resolve().parents[1]
DOCKERFILE = CHECKOUT / "docker" / "cpu.Dockerfile"
BUILDAH = ("buildah", "--storage-driver", "overlay")
IMAGE = "seedmill:0.1.0"
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"


def base_name(dockerfile: Path) -> str:
    """The base that a Dockerfile asks for, in full."""
    tag = re.search(r"^ARG PYTHON=(\S+)", dockerfile.read_text(), re.MULTILINE)
    if tag is None:
        raise ValueError(f"{dockerfile} names no base: it needs a line ARG PYTHON=TAG")
    return f"docker.io/library/python:{tag[1]}"


def exists(image: str) -> bool:
    """Whether buildah's storage has an image."""
    return subprocess.run([*BUILDAH, "inspect", "--type", "image", image], capture_output=True, check=False).returncode == 0


def make_base(image: str) -> None:
    """A stand-in for the base: a minimal Debian with Python."""
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder) / "base.tar"
        subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", tar], check=True)
        name = subprocess.check_output([*BUILDAH, "from", "scratch"], text=True).strip()
        try:
            subprocess.run([*BUILDAH, "add", "--quiet", name, tar, "/"], check=True)
            subprocess.run([*BUILDAH, "commit", "--quiet", "--format", "docker", name, image], check=True)
        finally:
            subprocess.run([*BUILDAH, "rm", name], check=True, stdout=subprocess.DEVNULL)


def main(
    mount: Annotated[list[str] | None, typer.Option(help="A folder or file that pip needs while it builds, as buildah's --volume.")] = None,
    torch_options: Annotated[str, typer.Option(help="Options of pip that choose torch's build.")] = "",
) -> None:
    """Build `seedmill:0.1.0` into buildah's storage."""
    base = base_name(DOCKERFILE)
    if not exists(base):
        make_base(base)
    options = ["--format", "docker", "--isolation", "chroot", "--network", "host", "--pull-never", "--layers", "--tag", IMAGE]
    mounts = [f"--volume={place}" for place in mount or []]
    arguments = [f"--build-arg=TORCH_OPTIONS={torch_options}", f"--file={DOCKERFILE}"]
    subprocess.run([*BUILDAH, "bud", *options, *mounts, *arguments, CHECKOUT], check=True)


if __name__ == "__main__":
    typer.run(main)
