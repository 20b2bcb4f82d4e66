import heapq
import os
import re
import sys
from pathlib import Path

import curation_stages as stages
import pytest

from factory.curation.builtin import LIBRARY
from factory.curation.config import SourceConfig
from factory.curation.files import LocalFolder
from factory.curation.sources import observe

KINDS = ("pydoc_html", "stdlib_code", "language_reference", "docstrings")


@pytest.mark.parametrize("kind", KINDS)
def test_a_built_in_source_reads_the_same_twice(tmp_path, kind, monkeypatch):
    section = {"kind": kind, "limit_documents": 20}
    first = stages.run(tmp_path / "one", f"raw_documents/{kind}", "sources", section)
    monkeypatch.setenv("PYTHONHASHSEED", "12345")
    monkeypatch.chdir(tmp_path)
    second = stages.run(tmp_path / "two", f"raw_documents/{kind}", "sources", section)
    assert stages.digest(first) == stages.digest(second)
    assert first.counts.kept == 20
    assert first.metrics["source_version"] == observe(SourceConfig(kind=kind))


@pytest.mark.parametrize("kind", [pytest.param("pydoc_html", marks=pytest.mark.slow), "docstrings"])
def test_no_page_shows_an_address_or_where_python_lies(tmp_path, kind):
    texts = [row["text"] for row in stages.rows(stages.run(tmp_path, "raw_documents/x", "sources", {"kind": kind}))]
    joined = "\n".join(texts)
    assert len(texts) > 200
    assert not re.search(r"at(&nbsp;| )0x[0-9a-f]{6,}", joined)
    assert not [place for place in (sys.prefix, sys.base_prefix, os.environ.get("PATH", "/")) if place in joined]


def test_the_sources_of_the_standard_library_come_whole(tmp_path):
    context = stages.run(tmp_path, "raw_documents/code", "sources", {"kind": "stdlib_code", "include": ["textwrap.py", "heapq.py"]})
    first, second = stages.rows(context)
    assert (first["locator"], second["locator"]) == ("heapq.py", "textwrap.py")
    assert first["text"] == Path(heapq.__file__).read_text(encoding="utf-8")
    assert {first["kind"], first["media"]} == {"code"}


def test_rendering_leaves_the_factory_without_the_rendered_modules(tmp_path):
    before = set(sys.modules)
    stages.run(tmp_path, "raw_documents/pages", "sources", {"kind": "pydoc_html", "limit_documents": 20})
    assert not {"cgitb", "cmath", "colorsys"} & (set(sys.modules) - before)


def test_the_links_that_a_distribution_puts_into_the_library_are_no_part_of_it(tmp_path):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "abc.py").write_text("")
    (tmp_path / "sitecustomize.py").write_text("")
    (tmp_path / "library" / "sitecustomize.py").symlink_to(tmp_path / "sitecustomize.py")
    assert [entry.path for entry in LocalFolder(tmp_path / "library", nested=False, links=False).list()] == ["abc.py"]
    assert not LIBRARY.links
