"""Bad input ends in one line that names the thing, the value and the remedy, or in a counted drop: nothing is lost."""

import copy
import gzip
import shutil
import subprocess

import pyarrow.parquet as pq
import pytest
import yaml
from trial import PROSE, SMOKE, folder

TRAINING = yaml.safe_load(SMOKE.read_text())["training"]


def training(stage: str, **changes) -> dict:
    changed = copy.deepcopy(TRAINING)
    changed[stage] |= changes
    return {"training": changed}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"curation": {"filter": {"anotations": 100}}},
            "unknown key curation.filter.anotations (value 100): remove it or mend its spelling",
        ),
        ({"mixture": {"shares": {"web": 0.5, "acquired": 0.6}}}, "mixture.shares: the shares sum to 1.1, not 1"),
        (training("pretrain", layout={"tensor": 3}), "layout.tensor 3 does not divide the model's attention_heads 4: choose a divisor"),
        (training("pretrain", layout={"data": 3}), "global_batch 8 must be a multiple of micro_batch 8 x layout.data 3"),
    ],
)
def test_a_recipe_that_cannot_be_meant_fails_before_anything_runs(trial, sections, message):
    trial.write(**sections)
    assert message in trial("run").fails_in_one_line()
    assert not trial.home.exists()


def test_sources_that_cannot_be_read_are_named_each_with_its_remedy(trial, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    packed = gzip.compress("\n".join(f'{{"text": "{PROSE} {n}"}}' for n in range(500)).encode())
    (tmp_path / "broken/a.jsonl.gz").write_bytes(packed[: len(packed) // 2] + b"\0\1\2" + packed[len(packed) // 2 + 3 :])
    names = ("empty", "broken", "gone")
    trial.write(sources={"web": {"kind": "language_reference"}, **{name: folder(tmp_path / name) for name in names}})
    error = trial("run", *(f"raw_documents/{name}" for name in names)).fails_in_one_line()
    assert f"raw_documents/empty: source '{tmp_path}/empty' has no file that matches ['*']; correct its path or include" in error
    assert "raw_documents/broken: source file 'a.jsonl.gz' is broken" in error
    assert "replace it, or leave it out by `include`" in error
    assert f"raw_documents/gone: source folder '{tmp_path}/gone' does not exist; create it or correct the source's path" in error
    assert trial.manifests() == {}


def test_every_record_of_every_stage_is_kept_or_dropped_by_reason(curated):
    manifests = curated.manifests()
    for asset, manifest in manifests.items():
        counts = manifest["counts"]
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()), asset
    mixed, messy = (manifests[f"raw_documents/{name}"]["counts"] for name in ("mixed", "messy"))
    assert mixed == {"read": 11, "kept": 7, "dropped": {"no_text": 2, "invalid_json": 1, "unsupported_format": 1}, "made": {}}
    assert messy == {"read": 5, "kept": 2, "dropped": {"too_long": 1, "invalid_utf8": 2}, "made": {}}
    for above, below in (("extracted", "filtered"), ("filtered", "unique"), ("unique", "clean")):
        assert manifests[f"{above}_documents"]["counts"]["kept"] == manifests[f"{below}_documents"]["counts"]["read"]


def test_a_line_of_200_megabytes_is_never_held_in_memory(curated):
    assert curated.manifests()["raw_documents/messy"]["peak_rss_bytes"] < 400_000_000


def test_a_document_of_every_format_goes_through_the_whole_curation_with_its_licence(curated):
    (clean,) = curated.home.glob("store/artifacts/clean_documents/*/attempts/*/out/documents/*.parquet")
    rows = [row for row in pq.read_table(clean).to_pylist() if row["source"] == "mixed"]
    assert [row["locator"] for row in sorted(rows, key=lambda row: row["locator"])] == [
        "a.html",
        "b.txt",
        "c.md",
        "d.jsonl#1",
        "e.jsonl.gz#1",
        "f.jsonl.zst#1",
        "g.parquet#1",
    ]
    assert {row["license"] for row in rows} == {"MIT"}
    assert "Home" not in next(row["text"] for row in rows if row["locator"] == "a.html")


@pytest.fixture
def bucket(mixed, trial, monkeypatch):
    """The mixed folder as objects under a prefix."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    for name, value in {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="corpus")
    for path in mixed.iterdir():
        client.put_object(Bucket="corpus", Key=f"2026/{path.name}", Body=path.read_bytes())
    yield
    server.stop()


def test_a_folder_that_moves_to_a_bucket_gives_the_same_documents_and_nothing_after_them_is_made_anew(continued, sources, bucket):
    continued.write(sources={**sources, "mixed": folder("s3://corpus/2026")})
    done = continued("run", "clean_documents")
    assert done.status == 0, done.err
    assert continued.made() == {"raw_documents/mixed"}


def test_a_bucket_that_does_not_exist_is_named_by_run_status_and_doctor(trial, sources, bucket):
    trial.write(sources={**sources, "mixed": folder("s3://nowhere/2026")})
    message = "cannot read source s3://nowhere/2026/: the bucket does not exist; create it or correct the source's path"
    assert message in trial("run", "raw_documents/mixed").fails_in_one_line()
    told = {command: trial(command) for command in ("status", "doctor")}
    assert {command: (done.status, message in done.out) for command, done in told.items()} == {"status": (0, True), "doctor": (1, True)}


@pytest.fixture
def small_disk(trial):
    """A file system of 900 kB as the workspace."""
    trial.home.mkdir()
    mounted = (
        shutil.which("mount")
        and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "none", trial.home], check=False).returncode == 0
    )
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield trial
    subprocess.run(["umount", trial.home], check=True)


def test_a_disk_that_fills_up_is_named_and_the_run_goes_on_once_there_is_room(small_disk, curated):
    error = small_disk("run", "clean_documents").fails_in_one_line()
    assert f"no room left to write {small_disk.home}" in error
    assert "free some, or set SEEDMILL_HOME elsewhere, and run again" in error
    finished = set(small_disk.manifests())
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk.home], check=True)
    assert small_disk("run", "clean_documents").status == 0
    assert small_disk.made().isdisjoint(finished)
    found = {asset: manifest["digest"] for asset, manifest in small_disk.manifests().items()}
    assert found == {asset: manifest["digest"] for asset, manifest in curated.manifests().items()}
