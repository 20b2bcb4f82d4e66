import errno
import gzip
import json
import os
import random
import re
import tracemalloc

import curation_stages as stages
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from factory.curation import rows
from factory.curation.config import SourceConfig
from factory.curation.files import Entry, LocalFolder
from factory.curation.sources import observe
from factory.errors import SeedmillError


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "corpus"
    path.mkdir()
    return path


def read(folder, **settings):
    return stages.run(folder.parent, "raw_documents/mine", "sources", {"path": str(folder), **settings})


def lines(*items):
    return b"".join(item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n" for item in items)


def test_every_format_gives_documents_with_its_medium_and_locator(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "page.html").write_text("<p>Grüße</p>")
    (folder / "a.md").write_text("# Title")
    (folder / "b.py").write_text("x = 1\n")
    (folder / "c.jsonl").write_bytes(lines({"text": "first", "name": "one"}, {"text": "second"}))
    (folder / "d.jsonl.gz").write_bytes(gzip.compress(lines({"text": "packed"})))
    (folder / "e.jsonl.zst").write_bytes(
        zstandard.compress(lines({"text": "one frame"})) + zstandard.compress(lines({"text": "and another"}))
    )
    pq.write_table(pa.table({"text": ["in a table", None], "name": ["x", "y"]}), folder / "f.parquet")
    context = read(folder, license="MIT")
    found = {row["locator"]: (row["media"], row["text"], row["kind"]) for row in stages.rows(context)}
    assert found == {
        "a.md": ("markdown", "# Title", "document"),
        "b.py": ("code", "x = 1\n", "code"),
        "c.jsonl#1": ("text", "first", "document"),
        "c.jsonl#2": ("text", "second", "document"),
        "d.jsonl.gz#1": ("text", "packed", "document"),
        "deep/page.html": ("html", "<p>Grüße</p>", "document"),
        "e.jsonl.zst#1": ("text", "one frame", "document"),
        "e.jsonl.zst#2": ("text", "and another", "document"),
        "f.parquet#1": ("text", "in a table", "document"),
    }
    assert context.counts.dropped == {"no_text": 1}
    assert {(row["source"], row["license"]) for row in stages.rows(context)} == {("mine", "MIT")}


def test_an_id_field_becomes_the_locator(folder):
    (folder / "c.jsonl").write_bytes(lines({"body": "first", "name": "one"}, {"body": "second", "name": 2}))
    pq.write_table(pa.table({"body": ["in a table"], "name": ["x"]}), folder / "f.parquet")
    context = read(folder, text_field="body", id_field="name")
    assert [row["locator"] for row in stages.rows(context)] == ["c.jsonl#one", "c.jsonl#2", "f.parquet#x"]


def test_every_bad_record_is_counted_by_reason(folder):
    digits = b'{"text": "a", "n": ' + b"7" * 5_000 + b"}\n"  # more than Python turns into a number
    bad = [b"\xff\xfe\n", b"{broken\n", digits, b"\n", b"[1]\n", {"other": 1}, {"text": "  "}]
    bad += [b'{"text": "\\ud800"}\n', b'{"text": "a", "name": "\\ud800"}\n', {"text": "x" * 7_000}]
    (folder / "rows.jsonl").write_bytes(lines({"text": "good"}, *bad, {"text": "good too"}))
    (folder / "binary.txt").write_bytes(b"\x80\x81\x82")
    (folder / "big.txt").write_text("y" * 7_000)
    (folder / "empty.txt").write_text("\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    context = read(folder, max_document_bytes=6_000, id_field="name")
    assert context.counts.dropped == {
        "invalid_utf8": 2,
        "invalid_json": 2,
        "empty": 3,
        "no_text": 2,
        "invalid_unicode": 2,
        "too_long": 2,
        "unsupported_format": 1,
    }
    assert context.counts.kept == 2
    assert context.counts.read == 16


def test_a_row_of_a_table_that_is_not_utf8_is_dropped_and_its_neighbours_are_kept(folder):
    raw = pa.array([b"good", b"\xff\xfe", b"good too", b"good but nameless"])
    names = pa.array([b"a", b"b", b"c", b"\xff"])
    table = pa.table({"text": raw.cast(pa.string(), safe=False), "name": names.cast(pa.string(), safe=False)})
    pq.write_table(table, folder / "f.parquet")
    context = read(folder, id_field="name")
    assert [row["locator"] for row in stages.rows(context)] == ["f.parquet#a", "f.parquet#c"]
    assert context.counts.dropped == {"invalid_utf8": 2}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.jsonl.gz", gzip.compress(lines({"text": "x" * 500}))[:-12]),
        ("noise.jsonl.gz", b"this is no gzip"),
        ("cut.jsonl.zst", zstandard.compress(os.urandom(5_000))[:-40]),
        ("noise.jsonl.zst", b"this is no zstandard"),
        ("noise.parquet", b"this is no parquet"),
    ],
)
def test_a_broken_container_is_one_error_that_names_the_file(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(SeedmillError, match=f"{name}.*broken.*include"):
        read(folder)


@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip"])
def test_a_table_that_is_corrupt_in_its_middle_is_one_error_that_names_the_file(folder, codec):
    words = random.Random(0)
    texts = [" ".join(words.choices(["ore", "mill", "seed", "grain", "stone"], k=40)) + f" {n}" for n in range(2_000)]
    pq.write_table(pa.table({"text": texts}), folder / "f.parquet", compression=codec)
    data = bytearray((folder / "f.parquet").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = words.randbytes(200)
    (folder / "f.parquet").write_bytes(data)
    with pytest.raises(SeedmillError, match=r"^source file 'f\.parquet' is broken [^\n]*leave it out by `include`$"):
        read(folder)


def test_a_disk_that_is_full_while_a_table_is_copied_is_not_called_a_broken_file(folder, monkeypatch):
    pq.write_table(pa.table({"text": ["x"]}), folder / "f.parquet")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rows.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        read(folder)


def test_a_missing_column_names_what_there_is(folder):
    for columns in (["content"], ["text", "text"]):
        pq.write_table(pa.table([["x"]] * len(columns), names=columns), folder / "f.parquet")
        with pytest.raises(SeedmillError, match=re.escape(f"no single column 'text', only {columns}")):
            read(folder)


def test_a_line_of_200_megabytes_is_skipped_in_bounded_memory(folder):
    with (folder / "huge.jsonl").open("wb") as stream:
        stream.write(b'{"text": "')
        stream.seek(200_000_000, os.SEEK_CUR)
        stream.write(b'"}\n' + lines({"text": "after the giant"}))
    tracemalloc.start()
    context = read(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["text"] for row in stages.rows(context)] == ["after the giant"]
    assert context.counts.dropped == {"too_long": 1}
    assert peak < 20_000_000


def test_the_version_follows_content_and_names_but_not_place_or_time(folder, tmp_path):
    (folder / "a.txt").write_text("one")
    first = observe(SourceConfig(path=str(folder)))
    os.utime(folder / "a.txt", (1, 1))
    assert observe(SourceConfig(path=str(folder))) == first
    moved = folder.rename(tmp_path / "elsewhere")
    assert observe(SourceConfig(path=str(moved))) == first
    (moved / "a.txt").write_text("two")
    changed = observe(SourceConfig(path=str(moved)))
    (moved / "a.txt").rename(moved / "b.txt")
    assert len({first, changed, observe(SourceConfig(path=str(moved)))}) == 3


def test_the_stage_records_the_version_that_was_observed(folder):
    (folder / "a.txt").write_text("one")
    (folder / "b.log").write_text("not read")
    source = {"path": str(folder), "include": ["*.txt"]}
    assert read(folder, include=["*.txt"]).metrics["source_version"] == observe(SourceConfig.model_validate(source))


def test_a_file_that_changes_after_it_was_listed_is_an_error(folder):
    (folder / "a.txt").write_text("before")
    files = LocalFolder(folder)
    (entry,) = files.list()
    (folder / "a.txt").write_text("after!")
    with pytest.raises(SeedmillError, match=r"'a\.txt' changed while it was read"), files.reading(entry) as stream:
        stream.read()


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_read(folder, tmp_path):
    (folder / "a.txt").write_text("inside")
    (folder / "again.txt").symlink_to(folder / "a.txt")
    assert read(folder).counts.kept == 2
    (tmp_path / "secret.txt").write_text("outside")
    (folder / "leak.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(SeedmillError, match=r"'leak\.txt' is a link out of"):
        observe(SourceConfig(path=str(folder)))
    with pytest.raises(SeedmillError, match="link out of"), LocalFolder(folder).reading(Entry("leak.txt", "", 7)):
        pass


def test_what_is_no_file_with_a_name_that_can_be_stored_is_refused_and_named(folder):
    for name, make, message in (
        ("pipe.txt", os.mkfifo, "is a pipe, a socket or a device"),
        ("gone.txt", lambda path: path.symlink_to(folder / "nowhere.txt"), "is a link that leads nowhere"),
        ("loop.txt", lambda path: path.symlink_to(path), "is a link that leads nowhere"),
        ("\udcff.txt", lambda path: path.write_text("x"), "has a name that is not UTF-8"),
    ):
        make(folder / name)
        with pytest.raises(SeedmillError, match=re.escape(f"source file {name!r} {message}; ")):
            observe(SourceConfig(path=str(folder)))
        (folder / name).unlink()


def test_a_folder_within_that_cannot_be_listed_is_an_error_and_nothing_is_lost_in_silence(folder, monkeypatch):
    (folder / "locked").mkdir()
    scandir = os.scandir

    def listed(path):
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listed)
    with pytest.raises(SeedmillError, match=r"'locked' cannot be read: Permission denied"):
        observe(SourceConfig(path=str(folder)))


def test_limits_stop_the_reading(folder):
    (folder / "rows.jsonl").write_bytes(lines(*({"text": f"document {i:04}"} for i in range(100))))
    assert read(folder, limit_documents=7).counts.kept == 7
    context = read(folder, max_bytes=100)
    assert context.counts.kept == 7
    assert context.metrics["stopped_by"] == "max_bytes"


def test_a_source_without_documents_is_an_error_that_says_why(folder):
    with pytest.raises(SeedmillError, match="no file that matches"):
        read(folder)
    (folder / "empty.txt").write_text("")
    with pytest.raises(SeedmillError, match=r"gave no document.*'empty': 1"):
        read(folder)
    with pytest.raises(SeedmillError, match="does not exist"):
        read(folder / "nowhere")
    with pytest.raises(SeedmillError, match=r"empty\.txt' is a file, not a folder; .* `include`"):
        read(folder / "empty.txt")


def test_a_path_and_a_built_in_kind_exclude_each_other():
    with pytest.raises(ValueError, match="built-in kinds take none"):
        SourceConfig(kind="docstrings", path="somewhere")
    with pytest.raises(ValueError, match="needs a path"):
        SourceConfig(kind="folder")
    for path in ("s3://", "s3:///prefix"):
        with pytest.raises(ValueError, match=f"path '{path}' names no bucket: write s3://BUCKET/PREFIX"):
            SourceConfig(path=path)
