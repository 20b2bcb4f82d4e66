import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from factory.cluster.api import JobState, Offsets, Phase, attend
from factory.cluster.local import LocalLauncher
from factory.errors import SeedmillError
from factory.spec import JobSpec

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable_stages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def launcher(tmp_path: Path):
    launcher = LocalLauncher(tmp_path / "jobs", grace_seconds=5)
    yield launcher
    launcher.cancel("tiny/v1")


def job(tmp_path: Path, stage: str = "count", attempt: int = 1, **section) -> JobSpec:
    folder = str(tmp_path / "attempts" / str(attempt))
    previous = tuple(str(tmp_path / "attempts" / str(n)) for n in range(attempt - 1, 0, -1))
    return JobSpec(
        key="tiny/v1",
        asset="tiny",
        run=f"tiny_stages:{stage}",
        section=section,
        seed=1,
        inputs={},
        folder=folder,
        previous=previous,
    )


def wait_for(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def process_of(launcher: LocalLauncher) -> psutil.Process:
    record = json.loads((launcher.registry / "tiny.v1.json").read_bytes())
    return wait_for(lambda: psutil.Process(record["pid"]).children())[0]


def progress(launcher: LocalLauncher) -> int:
    return len(launcher.follow("tiny/v1", Offsets()).messages)


def test_a_job_runs_to_its_result_and_every_line_is_heard_once(launcher, tmp_path):
    launcher.submit("tiny/v1", job(tmp_path, to=3, pause=0.01))
    heard = []
    result = attend(launcher, "tiny/v1", heard.append)
    assert result.counts.made == {"numbers": 3}
    assert result.cpu_seconds > 0
    assert result.peak_rss_bytes > 1_000_000
    assert [m["done"] for m in heard if m["kind"] == "progress"] == [1, 2, 3]
    assert [m["text"].startswith("counting") for m in heard if m["kind"] == "output"] == [True]
    assert launcher.find("tiny/v1") == JobState(Phase.FINISHED, tmp_path / "attempts" / "1")


def test_an_unknown_key_is_absent(launcher):
    assert launcher.find("tiny/v1") == JobState(Phase.ABSENT)


def test_following_by_offset_never_yields_half_a_line(launcher, tmp_path):
    launcher.submit("tiny/v1", job(tmp_path, to=1, pause=0))
    attend(launcher, "tiny/v1", lambda _: None)
    path = tmp_path / "attempts" / "1" / "messages.jsonl"
    before = launcher.follow("tiny/v1", Offsets()).offsets
    with path.open("a") as stream:
        stream.write('{"kind": "log", "te')
        stream.flush()
        assert launcher.follow("tiny/v1", before).messages == []
        stream.write('xt": "whole"}\n')
    assert launcher.follow("tiny/v1", before).messages == [{"kind": "log", "text": "whole"}]


def test_two_orchestrators_that_submit_at_once_start_one_process(tmp_path):
    launchers = [LocalLauncher(tmp_path / "jobs") for _ in range(4)]
    threads = [threading.Thread(target=launcher.submit, args=("tiny/v1", job(tmp_path, to=2, pause=0.3))) for launcher in launchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(launcher._children) for launcher in launchers) == 1
    attend(launchers[0], "tiny/v1", lambda _: None)
    assert (tmp_path / "attempts/1/log.txt").read_text().count("counting") == 1


def test_a_finished_job_is_not_started_again_in_its_folder_but_a_new_attempt_is(launcher, tmp_path):
    for attempt, started in ((1, 1), (1, 1), (2, 2)):
        launcher.submit("tiny/v1", job(tmp_path, attempt=attempt, to=1, pause=0))
        attend(launcher, "tiny/v1", lambda _: None)
        assert len(launcher._children) == started


@pytest.mark.kill
def test_a_killed_orchestrator_is_followed_by_one_that_finds_its_job_running(launcher, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(job(tmp_path, to=15, pause=0.2).model_dump_json())
    program = (
        "import pathlib, sys\nfrom factory.cluster.local import LocalLauncher\nfrom factory.cluster.api import attend\n"
        "from factory.spec import JobSpec\nspec = JobSpec.model_validate_json(pathlib.Path(sys.argv[2]).read_bytes())\n"
        "launcher = LocalLauncher(pathlib.Path(sys.argv[1]))\nlauncher.submit(spec.key, spec)\nattend(launcher, spec.key, print)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", program, str(launcher.registry), str(spec)], stdout=subprocess.DEVNULL)
    wait_for(lambda: progress(launcher) >= 2)
    first.kill()
    first.wait()
    running = process_of(launcher).pid
    launcher.submit("tiny/v1", job(tmp_path, to=15, pause=0.2))
    heard = []
    attend(launcher, "tiny/v1", heard.append)
    assert [m["done"] for m in heard if m["kind"] == "progress"] == list(range(1, 16))
    assert {p.read_text() for p in (tmp_path / "attempts/1/parts").iterdir()} == {str(running)}


def test_an_interrupted_orchestrator_cancels_its_job_which_a_later_attempt_continues(launcher, tmp_path):
    launcher.submit("tiny/v1", job(tmp_path, to=6, pause=0.3))

    def interrupt(message):
        if message.get("done") == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attend(launcher, "tiny/v1", interrupt)
    state = launcher.find("tiny/v1")
    assert (state.phase, state.status, state.detail) == (Phase.DEAD, 143, "was cancelled (exit status 143)")
    launcher.submit("tiny/v1", job(tmp_path, attempt=2, to=6, pause=0))
    attend(launcher, "tiny/v1", lambda _: None)
    written = [len(list((tmp_path / "attempts" / n / "parts").iterdir())) for n in ("1", "2")]
    assert sum(written) == 6
    assert written[0] >= 2


def test_a_job_that_ignores_the_request_is_killed_after_the_grace(tmp_path):
    launcher = LocalLauncher(tmp_path / "jobs", grace_seconds=0.5)
    launcher.submit("tiny/v1", job(tmp_path, "stubborn"))
    wait_for(lambda: progress(launcher) == 1)
    process = process_of(launcher)
    launcher.cancel("tiny/v1")
    wait_for(lambda: launcher.find("tiny/v1").phase is Phase.DEAD)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_job_that_was_killed_says_by_what_and_shows_its_last_lines(launcher, tmp_path):
    launcher.submit("tiny/v1", job(tmp_path, "die"))
    with pytest.raises(SeedmillError, match=r"(?s)killed by SIGKILL; run again to go on from its last finished part.*about to need"):
        attend(launcher, "tiny/v1", lambda _: None)


def test_a_users_mistake_found_in_a_job_reads_as_if_it_were_found_here(launcher, tmp_path):
    launcher.submit("tiny/v1", job(tmp_path, "refuse"))
    with pytest.raises(SeedmillError, match=r"^the section names no source; add one$"):
        attend(launcher, "tiny/v1", lambda _: None)


@pytest.mark.kill
def test_what_a_killed_shell_left_running_is_killed_before_a_new_start(launcher, tmp_path):
    launcher.submit("tiny/v1", job(tmp_path, to=100, pause=0.3))
    wait_for(lambda: progress(launcher) >= 1)
    stray = process_of(launcher)
    os.kill(stray.ppid(), signal.SIGKILL)
    wait_for(lambda: launcher.find("tiny/v1").phase is Phase.DEAD)
    assert stray.status() != psutil.STATUS_ZOMBIE
    launcher.submit("tiny/v1", job(tmp_path, attempt=2, to=1, pause=0))
    attend(launcher, "tiny/v1", lambda _: None)
    assert not stray.is_running() or stray.status() == psutil.STATUS_ZOMBIE


def test_a_recycled_process_number_is_not_taken_for_the_job(launcher, tmp_path):
    folder = tmp_path / "attempts" / "1"
    folder.mkdir(parents=True)
    launcher.registry.mkdir()
    record = {"key": "tiny/v1", "pid": os.getpid(), "created": psutil.Process().create_time() - 3600, "folder": str(folder)}
    (launcher.registry / "tiny.v1.json").write_text(json.dumps(record))
    assert launcher.find("tiny/v1").phase is Phase.DEAD


def test_a_job_with_ranks_starts_them_all_and_has_one_result(launcher, tmp_path):
    launcher.submit("tiny/v1", job(tmp_path, "meet").model_copy(update={"processes": 2}))
    result = attend(launcher, "tiny/v1", lambda _: None)
    assert result.metrics == {"world_size": 2}
    assert (tmp_path / "attempts/1/log.txt").read_text().count("a rank is here") == 2
