import threading

import boto3
import pytest
from moto.server import ThreadedMotoServer

from factory.errors import SeedmillError
from factory.store import bucket as bucket_module
from factory.store import open_store
from factory.store.config import StoreConfig
from factory.store.s3 import S3Store

URL = "s3://mill/team/one"


@pytest.fixture(scope="module")
def service():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(service, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": service,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    client = boto3.client("s3")
    client.create_bucket(Bucket="mill")
    yield client
    for entry in client.list_objects_v2(Bucket="mill").get("Contents", []):
        client.delete_object(Bucket="mill", Key=entry["Key"])
    client.delete_bucket(Bucket="mill")


@pytest.fixture
def store(client, tmp_path):
    return S3Store.open(URL, tmp_path / "here")


@pytest.fixture
def elsewhere(client, tmp_path):
    """The same store seen from another machine."""
    return S3Store.open(URL, tmp_path / "there")


def keys(client) -> list[str]:
    return [e["Key"].removeprefix("team/one/") for e in client.list_objects_v2(Bucket="mill").get("Contents", [])]


def test_what_one_machine_commits_another_reads(store, elsewhere, make, client):
    made = make(store, "evaluation/base", "v1", **{"a.txt": "apple", "deep/b.txt": "berry"})
    assert elsewhere.assets() == ["evaluation/base"]
    (seen,) = elsewhere.versions("evaluation/base")
    assert seen == made
    folder = elsewhere.outputs(seen)
    assert (folder / "deep/b.txt").read_text() == "berry"
    assert elsewhere.verify(seen) == []
    assert "artifacts/evaluation/base/v1/attempts/1/out/deep/b.txt" in keys(client)


def test_only_the_outputs_that_are_asked_for_are_fetched(store, elsewhere, make):
    made = make(store, **{"weights.bin": "large", "small/a.txt": "apple"})
    folder = elsewhere.outputs(made, only=("small",))
    assert sorted(p.name for p in folder.iterdir()) == ["small"]
    assert sorted(p.name for p in elsewhere.outputs(made).iterdir()) == ["small", "weights.bin"]


def test_a_crash_before_the_manifest_leaves_nothing_visible_and_the_next_attempt_succeeds(
    store, elsewhere, write, make, monkeypatch, client
):
    attempt = store.begin("things", "v1")
    manifest = write(attempt, {"a.txt": "apple"})

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.bucket, "create", crash)
    with pytest.raises(KeyboardInterrupt):
        store.commit(attempt, manifest)
    assert "artifacts/things/v1/attempts/1/out/a.txt" in keys(client)
    assert elsewhere.manifest("things", "v1") is None
    assert elsewhere.assets() == elsewhere.versions("things") == []
    again = make(elsewhere)
    assert again.attempt == 2
    assert store.manifest("things", "v1") == again
    assert "artifacts/things/v1/attempts/1/out/a.txt" not in keys(client)


def test_a_resumed_attempt_commits_what_it_had_finished(store, write, monkeypatch, tmp_path):
    attempt = store.begin("things", "v1")
    manifest = write(attempt, {"a.txt": "apple"})
    restarted = S3Store.open(URL, tmp_path / "here")
    (found,) = restarted.attempts("things", "v1")
    assert found == attempt
    assert restarted.commit(found, manifest) == manifest


@pytest.mark.parametrize("round", range(3))
def test_of_writers_that_race_exactly_one_wins_and_all_get_its_version(client, tmp_path, write, round):
    stores = [S3Store.open(URL, tmp_path / str(n)) for n in range(4)]
    attempts = [store.begin("things", "v1") for store in stores]
    manifests = [write(attempt, {"a.txt": "apple"}) for attempt in attempts]
    assert sorted(a.number for a in attempts) == [1, 2, 3, 4]
    together = threading.Barrier(4)
    got = {}

    def commit(n: int) -> None:
        together.wait()
        got[n] = stores[n].commit(attempts[n], manifests[n])

    threads = [threading.Thread(target=commit, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({m.attempt for m in got.values()}) == 1
    winner = got[0]
    assert got[winner.attempt - 1] is manifests[winner.attempt - 1]
    outputs = [key for key in keys(client) if "/out/" in key]
    assert outputs == [f"artifacts/things/v1/attempts/{winner.attempt}/out/a.txt"]
    assert all((store.outputs(winner) / "a.txt").read_text() == "apple" for store in stores)


def test_a_second_writer_with_other_content_is_refused(store, elsewhere, write):
    first, second = store.begin("things", "v1"), elsewhere.begin("things", "v1")
    won = store.commit(first, write(first, {"a.txt": "apple"}))
    with pytest.raises(SeedmillError, match="second build gave digest"):
        elsewhere.commit(second, write(second, {"a.txt": "pear"}))
    assert elsewhere.manifest("things", "v1") == won
    assert elsewhere.verify(won) == []


def test_a_lost_answer_to_the_commit_does_not_make_the_winner_a_loser(store, write, monkeypatch):
    attempt = store.begin("things", "v1")
    manifest = write(attempt, {"a.txt": "apple"})
    create = store.bucket.create
    monkeypatch.setattr(store.bucket, "create", lambda key, data: create(key, data) and create(key, data))
    assert store.commit(attempt, manifest) is manifest
    assert store.verify(manifest) == []


def test_damage_in_the_bucket_is_named_withdrawn_and_mended(store, elsewhere, make, client):
    made = make(store, **{"a.txt": "apple", "b.txt": "berry"})
    key = "team/one/artifacts/things/v1/attempts/1/out/"
    client.put_object(Bucket="mill", Key=f"{key}a.txt", Body=b"appla", ChecksumAlgorithm="SHA256")
    client.delete_object(Bucket="mill", Key=f"{key}b.txt")
    assert store.verify(made) == ["a.txt has other bytes than its manifest says", "b.txt is missing"]
    with pytest.raises(SeedmillError, match=r"a.txt has other bytes than its manifest says: run `factory run things`"):
        elsewhere.outputs(elsewhere.manifest("things", "v1"))
    store.withdraw(made)
    assert store.manifest("things", "v1") is None
    again = make(store, **{"a.txt": "apple", "b.txt": "berry"})
    assert again.attempt == 2
    assert store.verify(again) == []


def test_an_object_that_someone_wrote_without_our_checksum_is_damage(store, make, client):
    made = make(store)
    client.put_object(Bucket="mill", Key="team/one/artifacts/things/v1/attempts/1/out/a.txt", Body=b"apple")
    assert store.verify(made) == ["a.txt has other bytes than its manifest says"]


def test_a_damaged_local_copy_is_fetched_again(store, elsewhere, make):
    made = make(store)
    copy = elsewhere.outputs(made) / "a.txt"
    copy.write_text("appla")
    assert elsewhere.verify(made) == []
    assert (elsewhere.outputs(made) / "a.txt").read_text() == "apple"


def test_large_files_go_up_in_parts_and_still_verify(store, elsewhere, make, monkeypatch):
    monkeypatch.setattr(bucket_module, "ONE_PIECE", 4)
    made = make(store, **{"a.txt": "x" * (9 << 20)})
    assert store.bucket.digest("artifacts/things/v1/attempts/1/out/a.txt") == bucket_module.IN_PARTS
    assert store.verify(made) == []
    assert (elsewhere.outputs(made) / "a.txt").stat().st_size == 9 << 20


def test_pointers_are_shared(store, elsewhere):
    assert store.pointer("laptop", "evaluation/base") is None
    store.point("laptop", "evaluation/base", "v1")
    assert elsewhere.pointer("laptop", "evaluation/base") == "v1"


def test_a_damaged_pointer_is_named_by_its_address(store):
    store.bucket.write("experiments/laptop/things.json", b"{")
    with pytest.raises(SeedmillError, match=r"^s3://[^ ]*/experiments/laptop/things\.json names no version: remove it"):
        store.pointer("laptop", "things")


def test_a_name_that_no_bucket_can_have_is_told_in_one_line(client, tmp_path):
    with pytest.raises(SeedmillError, match=r"^bucket s3://no bucket/: [^\n]*Invalid bucket name[^\n]*$"):
        S3Store.open("s3://no bucket", tmp_path).pointer("laptop", "things")


def test_a_bucket_that_does_not_exist_is_one_clear_error(client, tmp_path):
    store = S3Store.open("s3://nowhere/x", tmp_path)
    for ask in (lambda: store.manifest("things", "v1"), store.assets, store.bucket.check, lambda: store.begin("things", "v1")):
        with pytest.raises(SeedmillError, match=r"bucket s3://nowhere/x/: it does not exist: create it"):
            ask()


def test_missing_credentials_are_one_clear_error(client, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SeedmillError, match="no credentials: set AWS_ACCESS_KEY_ID"):
        S3Store.open(URL, tmp_path).assets()


def test_an_endpoint_that_cannot_be_reached_is_one_clear_error(client, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SeedmillError, match="cannot be reached: check AWS_ENDPOINT_URL"):
        S3Store.open(URL, tmp_path).pointer("laptop", "things")


def test_a_url_without_a_bucket_is_refused_and_a_recipe_opens_the_right_store(tmp_path):
    with pytest.raises(SeedmillError, match="names no bucket"):
        S3Store.open("s3:///x", tmp_path)
    assert isinstance(open_store(StoreConfig(url=URL), tmp_path), S3Store)
