"""Starts of one attempt, in files alone: whatever an old writer does at whatever moment, the newer start's output stands."""

import json
from pathlib import Path

import pytest

from factory.cluster.starts import begin, fruitless, publish, start_name
from factory.context import Context
from factory.errors import SeedmillError
from factory.parts import Parts
from factory.spec import JobSpec


def attempt(root: Path, number: int = 1) -> JobSpec:
    folder = root / str(number)
    folder.mkdir()
    previous = tuple(str(root / str(n)) for n in range(number - 1, 0, -1))
    return JobSpec(key="tiny", asset="tiny", run="none", section={}, seed=1, inputs={}, folder=str(folder), previous=previous)


def start(spec: JobSpec, job: int, restart: int) -> JobSpec:
    begun = begin(spec, start_name(job, restart))
    assert begun is not None
    return begun


def finish(job: JobSpec, writer: str) -> None:
    """What a stage leaves in its start's folder."""
    context = Context.of(job)
    context.write_json("answer.json", {"writer": writer})
    (Path(job.folder) / "result.json").write_text(context.result().model_dump_json())


def writer(spec: JobSpec) -> str:
    return json.loads((Path(spec.folder) / "out" / "answer.json").read_text())["writer"]


def add_part(job: JobSpec, name: str) -> None:
    with Parts(Path(job.folder) / "parts").writing(name) as path:
        path.write_text(job.folder)


def test_a_start_publishes_its_outputs_and_a_later_one_has_nothing_to_do(tmp_path):
    spec = attempt(tmp_path)
    job = start(spec, 7, 0)
    finish(job, "first")
    publish(job)
    assert writer(spec) == "first"
    assert (Path(spec.folder) / "result.json").exists()
    assert begin(spec, start_name(7, 1)) is None


def test_an_old_writer_can_neither_publish_nor_write_once_a_newer_start_has_begun(tmp_path):
    spec = attempt(tmp_path)
    old = start(spec, 7, 0)
    context = Context.of(old)
    finish(old, "old")
    new = start(spec, 7, 1)
    for act in (lambda: publish(old), lambda: add_part(old, "late"), lambda: context.log("late"), lambda: finish(old, "old again")):
        with pytest.raises(OSError, match=start_name(7, 0)):
            act()
    finish(new, "new")
    publish(new)
    assert writer(spec) == "new"


def test_half_a_publication_of_an_old_writer_is_replaced(tmp_path):
    spec = attempt(tmp_path)
    old = start(spec, 7, 0)
    finish(old, "old")
    (Path(old.folder) / "out").rename(Path(spec.folder) / "out")
    new = start(spec, 7, 1)
    with pytest.raises(OSError, match=r"result\.json"):
        (Path(old.folder) / "result.json").rename(Path(spec.folder) / "result.json")
    finish(new, "new")
    publish(new)
    assert writer(spec) == "new"


def test_a_start_that_comes_too_late_ends(tmp_path):
    spec = attempt(tmp_path)
    start(spec, 7, 2)
    with pytest.raises(SeedmillError, match=r"start 0000000007\.0001 of tiny came after start 0000000007\.0002"):
        begin(spec, start_name(7, 1))


def test_parts_of_earlier_starts_and_attempts_are_found_newest_first(tmp_path):
    first, second = attempt(tmp_path, 1), attempt(tmp_path, 2)
    one = start(first, 7, 0)
    add_part(one, "a")
    add_part(one, "b")
    two = start(second, 8, 0)
    add_part(two, "b")
    three = start(second, 8, 1)
    parts = Context.of(three).parts
    assert parts.names() == ["a", "b"]
    assert [parts.find(name).read_text() for name in ("a", "b")] == [one.folder, two.folder]
    with pytest.raises(OSError, match=start_name(7, 0)):
        add_part(one, "c")


def test_messages_of_all_starts_are_one_file(tmp_path):
    spec = attempt(tmp_path)
    for restart in range(2):
        Context.of(start(spec, 7, restart)).log(f"start {restart}")
    lines = (Path(spec.folder) / "messages.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["start 0", "start 1"]


def test_starts_without_a_part_are_counted_back_to_the_last_that_made_one(tmp_path):
    spec = attempt(tmp_path)
    add_part(start(spec, 7, 0), "a")
    assert [fruitless(start(spec, 7, restart)) for restart in (1, 2)] == [1, 2]
