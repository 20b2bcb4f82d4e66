import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from miniature import Mini

import factory.context
from factory.cluster.api import Phase
from factory.errors import SeedmillError
from factory.materialize import materialize

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable_stages(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    (tmp_path / "source.txt").write_text("apple pear fig")
    return Mini(tmp_path)


def start(mini: Mini, asset: str) -> subprocess.Popen:
    arguments = [sys.executable, str(HERE / "miniature.py"), str(mini.workspace), json.dumps(mini.process), asset]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"waited in vain for {path.name}"
        time.sleep(0.05)


def undisturbed(tmp_path: Path) -> str:
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    (folder / "source.txt").write_text("apple pear fig")
    mini = Mini(folder)
    return [materialize(mini.experiment(), name).manifest for name in ("raw", "words")][-1].digest


def test_a_manifest_holds_what_was_read_and_what_came_out(mini):
    raw, words = (materialize(mini.experiment(), name).manifest for name in ("raw", "words"))
    assert [(u.asset, u.version, u.digest) for u in words.inputs] == [("raw", raw.version, raw.digest)]
    assert (words.counts.read, words.counts.kept, words.rows) == (3, 3, 3)
    assert words.code_version == 1
    assert words.section == {"lowest": 1}
    assert words.packages["seedmill"]
    assert mini.experiment().store.verify(words) == []


@pytest.mark.kill
@pytest.mark.parametrize("process", [False, True])
def test_a_stage_killed_in_the_middle_goes_on_and_ends_with_the_same_digest(mini, tmp_path, monkeypatch, process):
    mini.process = process
    pause = tmp_path / "pause"
    pause.touch()
    monkeypatch.setenv("MINIATURE_PAUSE", str(pause))
    killed = start(mini, "words")
    wait_for(tmp_path / "pause.reached")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    experiment = mini.experiment()
    kill_jobs(experiment)
    assert {s.asset: s.state for s in experiment.states()}["words"] == "missing"
    assert experiment.store.versions("words") == []
    pause.unlink()
    again = start(mini, "words")
    digest, _ = again.communicate(timeout=60)
    assert again.returncode == 0
    assert digest == undisturbed(tmp_path)
    (words,) = mini.experiment().store.versions("words")
    assert words.metrics["workers"] == 2  # the second attempt read the parts of the first


def kill_jobs(experiment) -> None:
    """A job in a process of its own outlives its orchestrator: kill it as a failing node would."""
    for attempt in experiment.store.attempts("words", next((experiment.store.root / "artifacts/words").iterdir()).name):
        state = experiment.launcher.find(attempt.key)
        if state.phase is Phase.RUNNING:
            record = json.loads((experiment.launcher.registry / f"{attempt.key}.json").read_bytes())
            os.killpg(record["pid"], signal.SIGKILL)


@pytest.mark.kill
def test_a_job_that_outlives_its_orchestrator_is_found_again(mini, tmp_path, monkeypatch):
    mini.process = True
    pause = tmp_path / "pause"
    pause.touch()
    monkeypatch.setenv("MINIATURE_PAUSE", str(pause))
    orphaned = start(mini, "words")
    wait_for(tmp_path / "pause.reached")
    orphaned.send_signal(signal.SIGKILL)
    orphaned.wait()
    experiment = mini.experiment()
    version = next((experiment.store.root / "artifacts/words").iterdir()).name
    (attempt,) = experiment.store.attempts("words", version)
    assert experiment.launcher.find(attempt.key).phase is Phase.RUNNING
    again = start(mini, "words")
    time.sleep(1)
    pause.unlink()
    digest, _ = again.communicate(timeout=60)
    assert digest == undisturbed(tmp_path)
    assert mini.experiment().latest("words").attempt == attempt.number
    assert mini.experiment().latest("words").metrics["workers"] == 1


def test_a_stage_gives_the_same_digest_inside_the_orchestrator_and_in_a_process_of_its_own(mini, tmp_path):
    inside = {name: materialize(mini.experiment(), name).manifest for name in mini.build()}
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart/source.txt").write_text("apple pear fig")
    apart = Mini(tmp_path / "apart", process=True)
    outside = {name: materialize(apart.experiment(), name).manifest for name in apart.build()}
    source = {"raw": outside.pop("raw").version != inside.pop("raw").version}
    assert source == {"raw": True}  # the path is part of this source's section
    assert {n: (m.version, m.digest) for n, m in outside.items()} == {n: (m.version, m.digest) for n, m in inside.items()}


def test_a_rebuild_compares_digests_and_keeps_the_committed_version(mini):
    first = [materialize(mini.experiment(), name).manifest for name in ("raw", "words", "loud")][-1]
    again = materialize(mini.experiment(), "loud", rebuild=True)
    assert again.reused is False
    assert again.manifest == first
    assert len(mini.experiment().store.versions("loud")) == 1


def test_a_rebuild_that_gives_other_content_is_an_error_and_changes_nothing(mini, monkeypatch):
    first = [materialize(mini.experiment(), name).manifest for name in ("raw", "words", "loud")][-1]
    monkeypatch.setattr("miniature.loud", lambda context: context.write_json("loud.json", {"lines": []}))
    with pytest.raises(SeedmillError, match=r"loud .*: a second build gave digest .*not reproducible"):
        materialize(mini.experiment(), "loud", rebuild=True)
    assert mini.experiment().latest("loud") == first
    assert mini.experiment().store.verify(first) == []


def test_damaged_output_is_set_aside_and_built_again(mini):
    first = [materialize(mini.experiment(), name).manifest for name in ("raw", "words", "loud")][-1]
    path = mini.experiment().store.outputs(first) / "loud.json"
    path.write_text("{}")
    said = []
    again = materialize(mini.experiment(), "loud", listen=said.append)
    assert again.reused is False
    assert again.manifest.digest == first.digest
    assert any("is damaged and is built again: loud.json has other bytes" in message.get("text", "") for message in said)
    assert materialize(mini.experiment(), "loud").reused


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_error_and_leaves_no_version(mini, monkeypatch, code):
    materialize(mini.experiment(), "raw")

    class Full(factory.context.pq.ParquetWriter):
        def write_table(self, *_, **__):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(factory.context.pq, "ParquetWriter", Full)
    with pytest.raises(SeedmillError, match=r"no room left to write .*: free some, or set SEEDMILL_HOME elsewhere"):
        materialize(mini.experiment(), "words")
    assert mini.experiment().store.versions("words") == []
    monkeypatch.undo()
    assert materialize(mini.experiment(), "words").manifest.rows == 3


def test_a_stage_that_loses_a_record_is_refused(mini, monkeypatch):
    materialize(mini.experiment(), "raw")

    def forgetful(context):
        context.counts.read = 5
        context.write_json("x.json", {})

    monkeypatch.setattr("miniature.words", forgetful)
    with pytest.raises(SeedmillError, match="words: read 5 records but kept 0 and dropped 0"):
        materialize(mini.experiment(), "words")
    assert mini.experiment().store.versions("words") == []


def test_a_stage_that_writes_nothing_is_refused(mini, monkeypatch):
    materialize(mini.experiment(), "raw")
    monkeypatch.setattr("miniature.words", lambda _: None)
    with pytest.raises(SeedmillError, match="words: the stage wrote no output"):
        materialize(mini.experiment(), "words")
