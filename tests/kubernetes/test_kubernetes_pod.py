"""How pods of one set find each other, and starts of one set follow each other, without a cluster."""

import itertools
import threading
from pathlib import Path

import pytest
from cluster_jobs import counting

from factory.cluster import kubernetes_pod
from factory.cluster.kubernetes_pod import Pod, World, ask, serve

ADDRESSES = (f"127.78.0.{number}" for number in itertools.count(1))


@pytest.fixture
def environment(monkeypatch):
    given = {"JOB_COMPLETION_INDEX": "0", "SEEDMILL_PODS": "2", "SEEDMILL_LAUNCH": "7", "SEEDMILL_RESTART": "1", "SEEDMILL_SET": "a"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEEDMILL_ADDRESS", next(ADDRESSES))


def served(stopped: threading.Event) -> World:
    world = World("/mnt/1/starts/x", next(ADDRESSES), 1234)
    serve(world, stopped)
    return world


def test_the_first_pod_tells_its_world_to_a_pod_of_the_same_set(environment):
    world = served(threading.Event())
    assert ask(world.address) == world


def test_a_pod_of_another_set_or_launch_is_told_nothing(environment, monkeypatch):
    world = served(threading.Event())
    for name, value in (("SEEDMILL_SET", "b"), ("SEEDMILL_LAUNCH", "6")):
        with monkeypatch.context() as other:
            answers = []
            real = kubernetes_pod._set()
            other.setattr(kubernetes_pod, "_set", iter([_named(name, value), real]).__next__)
            answers.append(ask(world.address))
        assert answers == [None]


def _named(name: str, value: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        return kubernetes_pod._set()


def test_a_first_pod_that_was_asked_to_stop_tells_nobody(environment):
    stopped = threading.Event()
    world = served(stopped)
    stopped.set()
    assert ask(world.address) is None


def test_nobody_there_is_no_answer(environment):
    assert ask(next(ADDRESSES)) is None


def attempt(root: Path) -> Path:
    spec = counting(root, 1, processes=2)
    folder = Path(spec.folder)
    folder.mkdir()
    (folder / "job.json").write_text(spec.model_dump_json())
    return folder


def test_a_set_that_was_suspended_and_resumed_claims_a_start_of_its_own(environment, tmp_path):
    folder = attempt(tmp_path)
    first, second = (Path(Pod(folder)._claim().folder) for _ in range(2))
    assert first.name == "0000000007.0001.0000"
    assert second.name == "0000000007.0001.0001"
    assert first.is_file(), "the earlier start is fenced"


def test_a_pod_that_comes_after_the_end_has_nothing_to_do(environment, tmp_path, monkeypatch):
    folder = attempt(tmp_path)
    (folder / "result.json").touch()
    assert Pod(folder).run() == 0
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    assert Pod(folder).run() == 0
