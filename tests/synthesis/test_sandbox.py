"""The walls around generated code. A script that was never checked tries what the checks would refuse."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from factory.synthesis import sandbox
from factory.synthesis.validate import BUILTINS, run_checked

ATTEMPTS = """
import json, os, socket, sys
def tries(attempt):
    try:
        return str(attempt())
    except OSError as error:
        return type(error).__name__
secret, own, port = sys.stdin.read().split()
print(json.dumps({
    "reads": tries(lambda: open(secret).read()),
    "writes": tries(lambda: open(own, "a").write("x")),
    "connects": tries(lambda: socket.create_connection(("127.0.0.1", int(port)), timeout=2)),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "environment": sorted(set(os.environ) - {"PWD", "LC_CTYPE", "PYTHONHASHSEED"}),
}))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "scripts" / "attempts.py"
    path.parent.mkdir()
    path.write_text(ATTEMPTS)
    return path


@pytest.fixture
def walled(script: Path) -> None:
    if not sandbox.walls(script.parent):
        reason = "needs bubblewrap, and leave to make user namespaces"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def attempts(script: Path, folder: Path) -> dict:
    (folder / "secret").write_text("hidden")
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = f"{folder / 'secret'} {script} {server.getsockname()[1]}"
        done = subprocess.run(sandbox.command(script), input=said, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


@pytest.mark.usefixtures("walled")
def test_behind_the_walls_there_are_no_files_no_network_no_processes_and_no_environment(script: Path, tmp_path: Path) -> None:
    found = attempts(script, tmp_path)
    assert found["reads"] == "FileNotFoundError"
    assert found["writes"] == "OSError"  # a read-only file system
    assert found["connects"] in {"ConnectionRefusedError", "OSError"}
    assert found["processes"] <= 2
    assert found["environment"] == []


@pytest.mark.parametrize("program", [None, "bwrap"])
def test_what_code_makes_of_a_set_of_texts_is_the_same_in_every_run(program: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python salts the hashes of texts in each process, so a verdict on such code would be luck, and a search with it."""
    if program is None:
        monkeypatch.setattr(sandbox.shutil, "which", lambda _: None)
    sandbox.walls.cache_clear()
    try:
        source = "def f(texts):\n    return list(set(texts))"
        assert len({run_checked(source, "f", [[["a", "b", "c", "d", "e"]]], BUILTINS).results[0] for _ in range(4)}) == 1
    finally:
        sandbox.walls.cache_clear()


def test_where_there_is_no_bubblewrap_the_same_script_runs_bare(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: None)
    sandbox.walls.cache_clear()
    try:
        assert sandbox.command(script)[0] == str(Path(sys.executable).resolve())
        assert attempts(script, tmp_path)["reads"] == "hidden"  # so the test above can fail
    finally:
        sandbox.walls.cache_clear()


def test_walls_that_do_not_hold_up_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2; exit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: str(refusing))
    sandbox.walls.cache_clear()
    try:
        assert sandbox.walls(tmp_path) == ()
    finally:
        sandbox.walls.cache_clear()


def test_checked_code_runs_behind_whatever_walls_there_are() -> None:
    outcome = run_checked("def double(x):\n    return 2 * x", "double", [(4,), ("a",)], BUILTINS)
    assert outcome.results == ("8", "'aa'")
