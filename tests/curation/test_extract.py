import time

import curation_stages as stages
import pytest

from factory.curation.extract import text_of
from factory.curation.sources import RAW

PAGE = r"""<!DOCTYPE html><html><head><title>t</title><style>p {color: red}</style><script>var hidden = 1;</script></head><body>
<nav><ul><li><a href="/">Navigation home</a></li><li><a href="/about">Navigation about</a></li></ul></nav>
<main><h1>Sums</h1>
<p>The sum is <math><semantics><mrow><mi>s</mi><mo>=</mo><mfrac><mi>a</mi><mi>b</mi></mfrac></mrow>
<annotation encoding="application/x-tex">s=\frac{a}{b}</annotation></semantics></math> and <script type="math/tex">x^2</script> is less.</p>
<p>On a line of its own:</p><script type="math/tex; mode=display">\int_0^1 x\,dx</script>
<math display="block"><semantics><mi>y</mi><annotation encoding="application/x-tex">y_1</annotation></semantics></math>
<pre><code>def total(values):
    result = 0
    for value in values:
        result += value

    return result
</code></pre>
<table><tr><th>Name</th><th>Value</th></tr><tr><td>one</td><td>1</td></tr><tr><td>two</td><td>2</td></tr></table>
<p>Some more prose, so that this part is taken for the main content of the page and nothing else is.</p></main>
<footer><a href="/imprint">Footer imprint</a></footer></body></html>"""


@pytest.fixture(scope="module")
def text():
    return text_of(PAGE, "html")


@pytest.mark.parametrize("equation", [r"$s=\frac{a}{b}$", "$x^2$", r"$$\int_0^1 x\,dx$$", "$$y_1$$"])
def test_equations_survive_as_tex(text, equation):
    assert equation in text


def test_code_keeps_its_lines_and_indentation(text):
    assert "def total(values):\n    result = 0\n    for value in values:\n        result += value\n\n    return result\n" in text


def test_tables_keep_their_rows(text):
    rows = [line.split() for line in text.split("\n")]
    assert [row for row in rows if len(row) == 2 and row[0] in ("Name", "one", "two")] == [["Name", "Value"], ["one", "1"], ["two", "2"]]


def test_navigation_scripts_and_styles_go(text):
    assert not [word for word in ("Navigation", "imprint", "hidden", "color") if word in text]
    assert "Navigation home" in text_of(PAGE, "html", main_content=False)


def test_real_pages_keep_their_prose_and_doctests(tmp_path):
    raw = stages.run(tmp_path, "raw_documents/pages", "sources", {"kind": "pydoc_html", "limit_documents": 25})
    context = stages.run(tmp_path, "extracted_documents", "extract", {}, {"raw_documents/pages": raw.out})
    page = next(row for row in stages.rows(context) if row["locator"] == "argparse.html")
    original = next(row for row in stages.rows(raw) if row["locator"] == "argparse.html")
    assert ">>> " in page["text"] or "ArgumentParser(" in page["text"]
    assert "This module is an optparse-inspired command-line parsing library" in page["text"]
    assert not any(mark in page["text"] for mark in ("<td", "&nbsp;", "\xa0"))
    assert page["parents"] == [original["id"]]
    assert context.counts.kept == 25


@pytest.mark.parametrize("media", ["text", "markdown", "code"])
def test_plain_media_pass_with_line_ends_normalised_and_controls_removed(media):
    assert text_of("\ufeffone\r\ntwo\rthree\x00\x0cfour \t\n\n\n\n\n\n    five\n", media) == "one\ntwo\nthree\nfour\n\n\n    five"


def test_a_page_without_text_is_a_counted_drop(tmp_path):
    raw = [
        stages.document("<html><body><script>only()</script></body></html>", "a", media="html"),
        stages.document("words remain", "b", media="text"),
    ]
    given = stages.artefact(tmp_path, "raw", raw, RAW)
    context = stages.run(tmp_path, "extracted_documents", "extract", {}, {"raw_documents/web": given})
    assert [row["text"] for row in stages.rows(context)] == ["words remain"]
    assert context.counts.dropped == {"no_text": 1}


@pytest.mark.parametrize(
    ("text", "media"), [("<div>" * 50_000 + "hello world", "html"), ("a" + " " * 500_000 + "b", "text"), ("\n" * 500_000 + "b", "text")]
)
def test_hostile_text_takes_no_minutes(text, media):
    begin = time.process_time()
    assert text_of(text, media)
    assert time.process_time() - begin < 5
