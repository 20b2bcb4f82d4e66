import gzip
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from trial import PROSE, Trial, folder

MEGABYTES = 200


TEXTS = {
    "html": "A page is a tree of elements. Because a browser repairs what is broken, authors rarely notice a missing end tag.",
    "txt": "Rivers carve valleys slowly. For example, a stream that falls steeply will cut faster than one that wanders.",
    "md": "Sorting is stable if equal items keep their order. Therefore one can sort by the second key first, then by the first.",
    "jsonl": "An eclipse happens when the moon covers the sun. Because its path is tilted, this does not happen every month.",
    "gz": "Packing works on repetition. A text of random letters cannot be made smaller, therefore nobody packs noise.",
    "zst": "A dictionary helps when many small files look alike. For example, log lines share most of their words.",
    "table": "Columns lie together on the disk. If a query reads two of fifty, then the others are never touched.",
}


def line(text: str) -> str:
    return json.dumps({"text": text}) + "\n"


@pytest.fixture(scope="session")
def mixed(tmp_path_factory) -> Path:
    """One document in every format, and four records that can only be dropped."""
    root = tmp_path_factory.mktemp("mixed")
    (root / "a.html").write_text(f"<html><body><nav>Home</nav><main><h1>Kept</h1><p>{TEXTS['html']}</p></main></body></html>")
    (root / "b.txt").write_text(TEXTS["txt"])
    (root / "c.md").write_text(f"# Kept\n\n{TEXTS['md']}")
    (root / "d.jsonl").write_text(line(TEXTS["jsonl"]) + '{"title": "no text"}\nno json\n')
    (root / "e.jsonl.gz").write_bytes(gzip.compress(line(TEXTS["gz"]).encode()))
    (root / "f.jsonl.zst").write_bytes(zstandard.compress(line(TEXTS["zst"]).encode()))
    pq.write_table(pa.table({"text": [TEXTS["table"], None]}), root / "g.parquet")
    (root / "h.pdf").write_bytes(b"%PDF-1.7")
    return root


@pytest.fixture(scope="session")
def messy(tmp_path_factory) -> Path:
    """A line of 200 MB between two good ones, and text that is not UTF-8."""
    root = tmp_path_factory.mktemp("messy")
    with (root / "long.jsonl").open("wb") as stream:
        stream.write(line(f"Before. {PROSE}").encode() + b'{"text": "')
        stream.seek(MEGABYTES << 20, 1)  # a hole in the file: read as bytes, written as none
        stream.write(b'"}\n' + line(f"After. {PROSE}").encode() + b'{"text": "\xff\xfe"}\n')
    (root / "latin.txt").write_bytes("Straße ".encode("latin-1") * 40)
    return root


@pytest.fixture(scope="session")
def sources(mixed, messy) -> dict:
    """A few pages that every Python carries, and the two folders."""
    return {
        "web": {"kind": "language_reference", "cluster": "web", "limit_documents": 30},
        "mixed": folder(mixed),
        "messy": folder(messy),
    }


@pytest.fixture(scope="session")
def curated(tmp_path_factory, sources) -> Trial:
    """A workspace in which the curation has run. Tests read it; those that go on take a copy."""
    root = tmp_path_factory.mktemp("curated")
    trial = Trial(root / "home", root / "recipe.yaml")
    trial.write(sources=sources)
    done = trial("run", "clean_documents")
    assert done.status == 0, done.out + done.err
    return trial


@pytest.fixture
def trial(tmp_path, sources) -> Trial:
    """An empty workspace with the same recipe."""
    trial = Trial(tmp_path / "home", tmp_path / "recipe.yaml")
    trial.write(sources=sources)
    return trial


@pytest.fixture
def continued(curated, trial) -> Trial:
    """A copy of the workspace in which the curation has run."""
    shutil.copytree(curated.home, trial.home)
    return trial
