import errno
import threading

import pytest

from factory.errors import SeedmillError
from factory.store import open_store
from factory.store.config import StoreConfig
from factory.store.local import LocalStore, safe


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "store")


def test_a_version_exists_once_its_manifest_is_committed(store, write):
    attempt = store.begin("evaluation/base", "v1")
    manifest = write(attempt, {"a.txt": "apple"})
    assert store.manifest("evaluation/base", "v1") is None
    assert store.assets() == []
    store.commit(attempt, manifest)
    assert store.manifest("evaluation/base", "v1") == manifest
    assert store.assets() == ["evaluation/base"]
    assert (store.outputs(manifest) / "a.txt").read_text() == "apple"


def test_an_output_called_manifest_is_not_taken_for_an_asset(store, make):
    make(store, **{"model/v1/manifest.json": "{}"})
    assert store.assets() == ["things"]
    assert len(store.versions("things")) == 1


def test_the_first_of_two_equal_writers_wins_and_the_second_gets_its_version(store, write):
    first, second = store.begin("things", "v1"), store.begin("things", "v1")
    won = store.commit(first, write(first, {"a.txt": "apple"}))
    got = store.commit(second, write(second, {"a.txt": "apple"}))
    assert (first.number, second.number) == (1, 2)
    assert got == won
    assert store.verify(got) == []


def test_a_second_writer_with_other_content_is_refused_and_changes_nothing(store, write):
    first, second = store.begin("things", "v1"), store.begin("things", "v1")
    won = store.commit(first, write(first, {"a.txt": "apple"}))
    with pytest.raises(SeedmillError, match=r"second build gave digest .* differ: \['a.txt'\]"):
        store.commit(second, write(second, {"a.txt": "pear"}))
    assert store.manifest("things", "v1") == won
    assert store.verify(won) == []


def test_many_writers_at_once_claim_different_attempts(store):
    numbers = []
    threads = [threading.Thread(target=lambda: numbers.append(store.begin("things", "v1").number)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))


def test_later_attempts_read_the_parts_of_earlier_ones_newest_first(store):
    attempts = [store.begin("things", "v1") for _ in range(3)]
    assert attempts[2].previous == (attempts[1].folder, attempts[0].folder)
    assert store.attempts("things", "v1") == attempts


def test_damage_is_named_and_a_withdrawn_version_can_be_made_again(store, make):
    manifest = make(store, **{"a.txt": "apple", "b/c.txt": "cherry", "b/d.txt": "date"})
    (store.outputs(manifest) / "a.txt").write_text("appla")
    (store.outputs(manifest) / "b/c.txt").unlink()
    assert store.verify(manifest) == ["a.txt has other bytes than its manifest says", "b/c.txt is missing"]
    store.withdraw(manifest)
    assert store.manifest("things", "v1") is None
    again = make(store, **{"a.txt": "apple", "b/c.txt": "cherry", "b/d.txt": "date"})
    assert store.manifest("things", "v1") == again
    assert again.digest == manifest.digest
    assert store.verify(again) == []


def test_a_commit_that_meets_a_full_disk_leaves_no_version(store, write, monkeypatch):
    attempt = store.begin("things", "v1")
    manifest = write(attempt, {"a.txt": "apple"})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.commit(attempt, manifest)
    monkeypatch.undo()
    assert store.manifest("things", "v1") is None
    assert store.commit(attempt, manifest) == manifest


def test_a_manifest_that_is_no_manifest_is_one_clear_error(store, make):
    make(store)
    path = store.root / "artifacts/things/v1/manifest.json"
    path.write_text('{"asset": "things"}')
    with pytest.raises(SeedmillError, match=r"manifest.json is no manifest \(version: Field required\)"):
        store.manifest("things", "v1")


def test_versions_come_oldest_first_and_the_pointer_names_one_of_them(store, make):
    made = [make(store, version=version) for version in ("v9", "v1", "v5")]
    store.point("laptop", "things", "v5")
    assert [m.version for m in store.versions("things")] == [m.version for m in made]
    assert store.pointer("laptop", "things") == "v5"
    assert store.pointer("cluster", "things") is None


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "", "a\\b", "a\0b"])
def test_names_that_leave_the_store_are_refused(name, store):
    with pytest.raises(SeedmillError, match="unsafe name"):
        safe(name)
    with pytest.raises(SeedmillError, match="unsafe name"):
        store.begin("things", name)
    with pytest.raises(SeedmillError, match="unsafe name"):
        store.point(name, "things", "v1")


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"other": 1}'])
def test_a_damaged_pointer_is_one_line_that_says_what_to_remove(store, damaged):
    store.point("laptop", "things", "v1")
    (path := store.root / "experiments/laptop/things.json").write_text(damaged)
    with pytest.raises(SeedmillError, match=f"^{path} names no version: remove it, and the next run of its experiment writes it again$"):
        store.pointer("laptop", "things")


def test_a_place_that_cannot_be_written_is_named_with_its_remedy(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SeedmillError, match=r"the store .*file/store cannot be written \(Not a directory\): set store\.url in"):
        LocalStore(tmp_path / "file" / "store").begin("things", "v1")
    for url in ("file", "file/below"):
        with pytest.raises(SeedmillError, match=rf"store\.url '.*{url}' cannot be a folder: .*/file is a file; name a folder, or s3://"):
            open_store(StoreConfig(url=str(tmp_path / url)), tmp_path)
