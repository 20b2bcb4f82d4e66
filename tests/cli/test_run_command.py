import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from smoke_recipe import SMOKE

from factory.cli.board import Board
from factory.cli.live import LiveView, PlainView
from factory.cli.words import count, duration, size

ORCHESTRATOR = """
import json, os, signal, sys, time
words = sys.argv[1:]
events = open(words[words.index("--events") + 1], "a")
def tell(asset, kind, **rest):
    print(json.dumps({"time": time.time(), "asset": asset, "kind": kind, **rest}), file=events, flush=True)
tell("benchmarks", "started")
what = os.environ["ORCHESTRATOR"]
if what == "hang":
    signal.signal(signal.SIGTERM, lambda *_: (tell("benchmarks", "log", text="saving"), sys.exit(143)))
    time.sleep(60)
if what == "fail":
    tell("benchmarks", "failed", error="no problem left; raise problems")
    sys.stderr.write("error: no problem left; raise problems\\n")
    sys.exit(1)
if what == "crash":
    sys.stderr.write("error: the instance is locked\\n")
    sys.exit(1)
if what == "reuse":
    tell("benchmarks", "finished", reused=True, version="v", seconds=0.1, rows=0, tokens=0, bytes=1)
    sys.exit(0)
sum(range(3_000_000))
time.sleep(2.5)  # memory is looked at once a second
tell("benchmarks", "log", text=" ".join(words[1:-2]))
tell("benchmarks", "finished", reused=False, version="v", seconds=3.2, rows=1200, tokens=0, bytes=1)
"""


@pytest.fixture
def orchestrated(workspace, tmp_path, monkeypatch):
    """`factory run` with an orchestrator that only tells events, in place of the real one."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/__init__.py").touch()
    (tmp_path / "assets/run.py").write_text(ORCHESTRATOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def start(what: str, *words: str) -> subprocess.Popen:
        monkeypatch.setenv("ORCHESTRATOR", what)
        command = [sys.executable, "-c", "from factory.cli import main; main()", "run", *words, "--recipe", str(SMOKE)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def test_a_run_tells_its_lines_measures_its_processes_and_ends_with_the_report(orchestrated, workspace):
    out, err = (run := orchestrated("well", "benchmarks", "--seed", "4", "--rebuild", "benchmarks")).communicate(timeout=60)
    assert (run.returncode, err) == (0, "")
    assert "benchmarks: started\n" in out
    assert "benchmarks: --seed 4 --select +benchmarks --select +benchmarks --rebuild benchmarks\n" in out
    assert "benchmarks: done in 3.2s, 1.2k records\n" in out
    assert "the last run that made something (it made 1 assets) took" in out
    assert "load of the machine at its start and end: " in out
    summary = json.loads((workspace / "runs/smoke-seed4/last.json").read_text())
    assert summary["status"] == 0
    assert 0 < summary["cpu_seconds"] <= summary["wall_seconds"] * (os.cpu_count() or 1)
    assert summary["peak_rss_bytes"] > 1_000_000


def test_a_run_that_found_all_fresh_says_so_and_leaves_the_figures_of_the_one_that_made_it(orchestrated, workspace):
    (workspace / "runs/smoke").mkdir(parents=True)
    before = {"made": 52, "wall_seconds": 700.0, "cpu_seconds": 650.0, "peak_rss_bytes": 5_000_000_000, "load": [1.0, 2.0]}
    (workspace / "runs/smoke/last.json").write_text(json.dumps(before))
    out, err = (run := orchestrated("reuse", "benchmarks")).communicate(timeout=60)
    assert (run.returncode, err) == (0, "")
    assert "nothing was to be made: all of it was fresh (" in out
    assert "(it made 52 assets) took 11m40s, 10m50s of CPU, at most 5GB of memory" in out


def test_a_run_for_a_program_prints_nothing_but_json_on_standard_output(orchestrated):
    out, err = (run := orchestrated("well", "benchmarks", "--json")).communicate(timeout=60)
    assert run.returncode == 0
    assert json.loads(out)["experiment"] == "smoke"
    assert "benchmarks: done" in err


@pytest.mark.parametrize(
    ("what", "message"), [("fail", "benchmarks: no problem left; raise problems"), ("crash", "the instance is locked")]
)
def test_a_failed_run_is_one_line_with_the_reason_and_the_log(orchestrated, what, message):
    _, err = (run := orchestrated(what, "benchmarks")).communicate(timeout=60)
    assert run.returncode == 1
    assert err.startswith(f"error: {message} (log: ")
    assert err.count("\n") == 1


def test_an_unknown_asset_is_told_before_anything_starts(orchestrated, workspace):
    _, err = (run := orchestrated("well", "benchmark")).communicate(timeout=60)
    assert run.returncode == 1
    assert err.startswith("error: no asset or group 'benchmark'; did you mean benchmarks?")
    assert not (workspace / "runs").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_asks_the_run_to_save_and_stop(orchestrated, workspace, how):
    run = orchestrated("hang", "benchmarks")
    deadline = time.monotonic() + 30
    while not any(path.read_text() for path in (workspace / "runs").glob("smoke/*/events.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    run.send_signal(how)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, err) == (130, "")
    assert "stopping: running stages save what they have" in out
    assert "benchmarks: saving" in out
    assert "stopped: what was finished is kept" in out


def at(moment: float, asset: str, kind: str, **rest) -> dict:
    return {"time": moment, "asset": asset, "kind": kind, **rest}


def trained(board: Board) -> None:
    for event in (
        at(100, "base", "started"),
        at(110, "base", "progress", done=500, total=1000, unit="steps", loss=4.0),
        at(120, "base", "progress", done=600, total=1000, unit="steps", loss=3.5, rate=10.0),
    ):
        board.hear(event)


def test_time_left_follows_the_pace_since_a_resumed_stage_began():
    board = Board({"base": "training"})
    trained(board)
    line = board.lines["base"]
    assert (line.share, line.elapsed(125)) == (0.6, 25)
    assert line.left(125) == pytest.approx(35)  # 400 steps at 10 a second, 5 s after the last word
    assert line.figures == {"loss": 3.5, "rate": 10.0}
    board.hear(at(130, "base", "finished", reused=False, version="v", seconds=30.0, rows=0, tokens=10, bytes=1))
    assert (line.state, line.share, line.left(131), line.ended) == ("done", 1.0, None, True)


def test_events_of_other_assets_are_left_alone_and_failures_are_kept():
    board = Board({"base": "training"})
    board.hear(at(1, "elsewhere", "started"))
    board.hear(at(1, "base", "started"))
    board.hear(at(5, "base", "failed", error="base: too hot"))
    assert [(line.asset, line.error, line.seconds) for line in board.failed] == [("base", "too hot", 4)]


def test_both_views_show_progress_loss_and_time_left(capsys):
    from rich.console import Console

    board = Board({"base": "training", "waiting": "release"})
    console = Console(width=140)
    trained(board)
    console.print(LiveView(board, console).render())
    view = PlainView(board, console)
    view.show(at(120, "base", "progress", done=600, total=1000, unit="steps", loss=3.5))
    shown = capsys.readouterr().out
    assert "0 of 2 assets" in shown
    assert "600 of 1k steps" in shown
    assert "loss 3.5" in shown
    assert "base: 600 of 1k steps, loss 3.5, rate 10, 40s left" in shown


def test_numbers_are_short():
    assert [count(n) for n in (0, 7, 999, 1000, 12_345, 4_560_000, 10**13)] == ["0", "7", "999", "1k", "12.3k", "4.56M", "10T"]
    assert count(4 + 2 / 3) == "4.67"
    assert [duration(s) for s in (0.04, 9.9, 12, 185, 7620)] == ["0.0s", "9.9s", "12s", "3m05s", "2h07m"]
    assert size(1536) == "1.54kB"


def test_the_repositorys_own_layers_are_kept():
    sources = Path(__file__).parents[2].joinpath("factory").rglob("*.py")
    assert not [
        path for path in sources if "import assets" in (text := path.read_text()) or "from assets" in text or "import dagster" in text
    ]
