"""The launcher over a real ssh: what jobs get of the orchestrator's environment, and connections that are lost in mid-run."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_jobs import progress
from slurm_jobs import SlurmLauncher, counting, launcher
from told_variables import SECRET
from virtual_slurm import VirtualSlurm, wait_for
from virtual_sshd import Sshd, obstacle, serving

from factory.cluster.api import attend
from factory.errors import SeedmillError

pytestmark = pytest.mark.slurm
VALUE = "sesame '$open' 7c1e"
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sshd(slurm: VirtualSlurm, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A login node; CI must have the packages, elsewhere these tests are skipped."""
    if reason := obstacle():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with serving(tmp_path_factory.mktemp("sshd"), slurm.environment) as server:
        monkeypatch.setenv("PATH", f"{server.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        yield server


def over_ssh(root: Path, **settings: Any) -> SlurmLauncher:
    """A launcher whose jobs have nothing of this process's environment, and so must be told where modules lie."""
    setup = (f"export PYTHONPATH={os.environ['PYTHONPATH']}{os.pathsep}{CHECKOUT}",)
    return launcher(root, ssh="login", setup=setup, **settings)


def holding(folder: Path, text: str) -> list[Path]:
    """The files under a folder that hold a text."""
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_job_over_ssh_gets_the_secrets_that_are_named_and_no_file_or_log_holds_them(slurm, sshd, tmp_path, monkeypatch):
    monkeypatch.setenv(SECRET, VALUE)
    told = {}
    for attempt, secrets in enumerate(((), (SECRET, "HOME")), start=1):
        cluster = over_ssh(tmp_path, secrets=secrets)
        spec = counting(tmp_path, 1, attempt=attempt, run="told_variables:tell")
        cluster.submit(spec.key, spec)
        told[bool(secrets)] = attend(cluster, spec.key, lambda _: None).metrics["secret"]
    assert told == {text != "": hashlib.sha256(text.encode()).hexdigest() for text in ("", VALUE)}
    assert holding(tmp_path, VALUE) == holding(sshd.folder, VALUE) == []
    assert VALUE not in slurm.ask("scontrol", "show", "job", "--details", str(slurm.jobs()[-1]))


def test_a_connection_that_is_cut_and_a_host_that_is_away_in_mid_run_are_tried_again(slurm, sshd, tmp_path):
    before = slurm.jobs()
    cluster, spec = over_ssh(tmp_path), counting(tmp_path, 12, pause=0.4)
    cluster.submit(spec.key, spec)
    wait_for(lambda: len(progress(cluster, spec)) >= 1)
    cuts, done = [], threading.Event()

    def cut() -> None:
        while not done.wait(0.01):
            cuts.append(sshd.cut())
            if sum(cuts) >= 2:
                break
        sshd.down()
        done.wait(1.5)
        sshd.up()

    thread = threading.Thread(target=cut)
    thread.start()
    heard: list[dict] = []
    try:
        attend(cluster, spec.key, heard.append)
    finally:
        done.set()
        thread.join()
    assert sum(cuts) >= 2, "no connection was open when it was to be cut"
    assert [m["done"] for m in heard if m["kind"] == "progress"] == list(range(1, 13))
    assert len(slurm.jobs()) == len(before) + 1


def test_a_host_whose_key_is_refused_is_an_error_at_once(slurm, sshd, tmp_path):
    (sshd.folder / "user.pub").write_text("")
    spec = counting(tmp_path, 1)
    with pytest.raises(SeedmillError, match=r"out of reach \(ssh login: .*Permission denied"):
        over_ssh(tmp_path).submit(spec.key, spec)
