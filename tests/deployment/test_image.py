"""The CPU image itself: each service in a container of its own, healthy over a real Postgres, and an asset made through all.

Runs where `python docker/build_image.py` has built the image; the services listen on the image's own ports, on loopback. buildah's
chroot isolation gives each container the image's files and user, not a network or a process tree of its own.
"""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import psutil
import pytest
from services import PATIENCE, Services, composed

BUILDAH = ("buildah", "--storage-driver", "overlay")
IMAGE = composed("code")["image"]
PORTS = {"postgres": 5432, "code": 4000, "web": 3000}
USER = 10001


def configuration() -> dict:
    """What the built image says of itself."""
    done = subprocess.run([*BUILDAH, "inspect", "--type", "image", IMAGE], capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["Docker"]["config"] if done.returncode == 0 else {}


def obstacle() -> str:
    """Why the image cannot be tried here; empty when it can."""
    if shutil.which("buildah") is None or os.geteuid():
        return "needs buildah and root"
    if not configuration():
        return f"no image {IMAGE}: python docker/build_image.py"
    if postgres_server.binaries() is None:
        return "PostgreSQL's server is not installed: apt-get install postgresql"
    taken = [name for name, port in PORTS.items() if not _is_free(port)]
    return f"the ports of {', '.join(taken)} are taken" if taken else ""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Contained(Services):
    """The services in containers, with the image's own entry point, commands, instance and ports."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home, self.processes, self.orphans, self.web = home, {}, [], PORTS["web"]
        self.location = self.experiment = "laptop"
        self.environment = dict(os.environ)
        self.image = configuration()
        self.containers = {name: self._container() for name in ("code", "web", "daemon")}
        self.volume = home / "volume"
        self.volume.mkdir()
        os.chown(self.volume, USER, USER)
        given = {name: value for name, value in environment.items() if name.startswith("DAGSTER_")}
        self.given = {**given, "SEEDMILL_CODE_HOST": "127.0.0.1", "OMP_NUM_THREADS": "1", "TINI_SUBREAPER": "1"}

    def _container(self) -> str:
        return subprocess.check_output([*BUILDAH, "from", "--pull-never", IMAGE], text=True).strip()

    def command(self, name: str) -> list[str]:
        return [*self.image["Entrypoint"], *(self.image["Cmd"] if name == "code" else composed(name)["command"])]

    def probe(self, name: str) -> list[str]:
        return (self.image["Healthcheck"] if name == "code" else {"Test": composed(name)["healthcheck"]["test"]})["Test"][1:]

    def here(self, name: str, words: list[str]) -> list[str]:
        """A command in the container of a service."""
        given = [f"--env={key}={value}" for key, value in self.given.items()]
        options = ["--isolation", "chroot", f"--volume={self.volume}:/var/lib/seedmill"]
        return [*BUILDAH, "run", *options, *given, self.containers[name], "--", *words]

    def stop(self) -> None:
        """buildah passes no signal on to what it runs: ask that first."""
        inside = [process for started in self.processes.values() for process in psutil.Process(started.pid).children(recursive=True)]
        for process in inside:
            process.terminate()
        for process in psutil.wait_procs(inside, timeout=20)[1]:
            process.kill()
        super().stop()
        subprocess.run([*BUILDAH, "rm", *self.containers.values()], check=True, capture_output=True)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Contained]:
    if reason := obstacle():
        pytest.skip(reason)
    with postgres_server.running(postgres_server.binaries(), PORTS["postgres"]) as environment:
        made = Contained(tmp_path, environment)
        try:
            yield made
        finally:
            made.stop()


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE)
def test_each_service_of_the_image_is_healthy_and_an_asset_is_made_through_all_of_them(services):
    assert services.image["User"] == str(USER)
    for name in ("code", "web", "daemon"):
        services.start(name)
    assert services.outcome(services.launch("raw_documents/docstrings")) == "SUCCESS"
    (manifest,) = (services.volume / "store" / "artifacts").rglob("manifest.json")
    assert json.loads(manifest.read_bytes())["asset"] == "raw_documents/docstrings"
    assert manifest.stat().st_uid == USER
