"""Kill any process of a run at any moment: the same command goes on, and the digests are those of an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "recipes" / "smoke.yaml"
STAGES = ("filtered_documents", "web_rewrites", "pretrained_checkpoint", "pivotal_pairs", "judged_pairs", "hugging_face_model")
KILLS = 20
AT_WORK = 0.75
"""How many of the random kills wait until a stage is at work; the others may fall into the start of a run."""
WORKSPACES = 4
LIMIT = 900

pytestmark = [pytest.mark.kill, pytest.mark.timeout(3600)]


def start(home: Path) -> subprocess.Popen[bytes]:
    """The user's command, with its workspace in `home`; what it prints goes to a file there."""
    environment = {**os.environ, "SEEDMILL_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("factory")), "run", "--recipe", str(SMOKE), "--no-live"]
    with (home / "output.txt").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def finish(home: Path) -> None:
    """Run the command to its end, which must be a good one."""
    assert start(home).wait(timeout=LIMIT) == 0, (home / "output.txt").read_text()[-4000:]


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


def end_orchestrators(home: Path) -> int:
    """SIGKILL to orchestrators that outlived their command, as one more kill; their jobs go on. How many there were."""
    orphans = [p for p in processes(home) if "assets.run" in " ".join(p.cmdline())]
    for orphan in orphans:
        orphan.kill()
    return len(orphans)


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
    """Run to the end, compare every digest, and see that no stage was made twice and nothing is left to do."""
    finish(home)
    found = digests(home)
    assert {a for a in expected if found.get(a) != expected[a]} == set()
    made = Counter(e["asset"] for e in events(home) if e.get("kind") == "finished" and not e["reused"])
    assert {asset: times for asset, times in made.items() if times > 1} == {}
    assert made  # a kill between a stage's commit and its word for it leaves one out, never all
    finish(home)
    last = max(home.glob("runs/**/*.jsonl"), key=lambda p: p.stat().st_mtime)
    ended = [json.loads(line) for line in last.read_text().splitlines()]
    assert all(e["reused"] for e in ended if e["kind"] == "finished")


def test_a_run_killed_in_the_middle_of_chosen_stages_ends_with_the_same_digests(undisturbed: dict[str, str], tmp_path: Path) -> None:
    draw = random.Random(1)
    for stage in STAGES:
        process = start(tmp_path)
        deadline = time.monotonic() + LIMIT
        while not began(tmp_path, stage):
            assert process.poll() is None, (tmp_path / "output.txt").read_text()[-4000:]
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
    for workspace in range(WORKSPACES):
        (home := tmp_path / str(workspace)).mkdir()
        kills += kill_until_it_ends(home, draw, KILLS - kills)
        check(home, undisturbed)
        if kills >= KILLS:
            return
    pytest.fail(f"{WORKSPACES} runs ended after {kills} kills in all, fewer than {KILLS}")


def wait_for_work(home: Path, process: subprocess.Popen[bytes], said: int) -> None:
    """Wait until this run, which follows `said` events of others, is at an asset that none has finished: it takes seconds to start."""
    while process.poll() is None:
        told = events(home)
        finished = {e.get("asset") for e in told if e.get("kind") == "finished"}
        if any(e.get("kind") == "started" and e.get("asset") not in finished for e in told[said:]):
            return
        time.sleep(0.02)


def kill_until_it_ends(home: Path, draw: random.Random, most: int) -> int:
    """Run, kill at random moments and run again, until the model is made or `most` kills are done; how many were."""
    kills, starts, ended = 0, 0, False
    while kills < most and not ended:
        said = len(events(home))
        process = start(home)
        starts += 1
        assert starts <= 2 * KILLS, (home / "output.txt").read_text()[-4000:]
        while kills < most and process.poll() is None:
            if draw.random() < AT_WORK:
                wait_for_work(home, process, said)
            time.sleep(draw.uniform(0.0, 6.0))
            kills += bool(kill_one(home, draw))
            time.sleep(1.0)
        ended = process.wait(timeout=LIMIT) == 0
        kills += end_orchestrators(home)
    return kills
