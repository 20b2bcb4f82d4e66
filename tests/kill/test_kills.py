"""Kill any process of a run at any moment: the same command goes on, and the digests are those of an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "recipes" / "smoke.yaml"
STAGES = ("filtered_documents", "web_rewrites", "pretrained_checkpoint", "pivotal_pairs", "judged_pairs", "hugging_face_model")
KILLS = 20
LIMIT = 900

pytestmark = [pytest.mark.kill, pytest.mark.timeout(3600)]


def start(home: Path) -> subprocess.Popen[str]:
    """The user's command, with its workspace in `home`."""
    environment = {**os.environ, "SEEDMILL_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("factory")), "run", "--recipe", str(SMOKE), "--no-live"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the command to end by itself; what it printed."""
    output, _ = process.communicate(timeout=LIMIT)
    return output


def processes(home: Path) -> list[psutil.Process]:
    """Every process that works in this workspace: command, orchestrator, shells, jobs, ranks."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SEEDMILL_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_one(home: Path, draw: random.Random) -> str:
    """SIGKILL to one process of the workspace, drawn at random; its command line."""
    candidates = processes(home)
    if not candidates:
        return ""
    victim = draw.choice(sorted(candidates, key=lambda p: p.pid))
    try:
        words = " ".join(victim.cmdline()[-3:])
        victim.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return ""
    return words


def settle(home: Path) -> None:
    """Wait until what the killed command left behind has ended, as a user would before typing again; jobs may go on."""
    deadline = time.monotonic() + LIMIT
    while any("assets.run" in " ".join(p.cmdline()) for p in processes(home) if p.is_running()):
        assert time.monotonic() < deadline, "an orphaned orchestrator never ended"
        time.sleep(0.2)


def digests(home: Path) -> dict[str, str]:
    """The digest of every asset that the workspace's store holds."""
    manifests = (home / "store" / "artifacts").glob("**/manifest.json")
    parsed = [json.loads(path.read_bytes()) for path in manifests if "attempts" not in path.parts]
    return {m["asset"]: m["digest"] for m in parsed}


def events(home: Path) -> list[dict[str, object]]:
    """All events of all runs in the workspace."""
    return [
        json.loads(line) for path in sorted(home.glob("runs/**/*.jsonl")) for line in path.read_text().splitlines() if line.endswith("}")
    ]


def began(home: Path, asset: str) -> bool:
    """Whether a run of the workspace has started this asset."""
    return any(e.get("asset") == asset and e.get("kind") == "started" for e in events(home))


@pytest.fixture(scope="module")
def undisturbed(smoke_home: Path) -> dict[str, str]:
    return digests(smoke_home)


def check(home: Path, expected: dict[str, str]) -> None:
    """Run to the end, compare every digest, and see that nothing is left to do."""
    process = start(home)
    output = finish(process)
    assert process.returncode == 0, output
    found = digests(home)
    assert {a for a in expected if found.get(a) != expected[a]} == set()
    again = start(home)
    finish(again)
    last = max(home.glob("runs/**/*.jsonl"), key=lambda p: p.stat().st_mtime)
    ended = [json.loads(line) for line in last.read_text().splitlines()]
    assert all(e["reused"] for e in ended if e["kind"] == "finished")


def test_a_run_killed_in_the_middle_of_chosen_stages_ends_with_the_same_digests(undisturbed: dict[str, str], tmp_path: Path) -> None:
    draw = random.Random(1)
    for stage in STAGES:
        process = start(tmp_path)
        deadline = time.monotonic() + LIMIT
        while not began(tmp_path, stage):
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(draw.uniform(0.0, 1.5))
        for victim in processes(tmp_path):
            victim.kill()
        process.wait(timeout=30)
    check(tmp_path, undisturbed)


def test_a_run_killed_at_twenty_random_moments_ends_with_the_same_digests(undisturbed: dict[str, str], tmp_path: Path) -> None:
    draw = random.Random(2)
    kills = 0
    while kills < KILLS:
        process = start(tmp_path)
        try:
            process.wait(timeout=draw.uniform(2.0, 12.0))
        except subprocess.TimeoutExpired:
            kills += bool(kill_one(tmp_path, draw))
            finish(process)
            settle(tmp_path)
        else:
            assert process.returncode == 0, finish(process)
            break
    assert kills >= KILLS // 2, "the run ended before it was killed often enough to mean anything"
    check(tmp_path, undisturbed)
