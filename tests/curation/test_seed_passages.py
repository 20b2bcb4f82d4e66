import inspect
import textwrap
from itertools import pairwise

import curation_stages as stages
import pytest

from factory.curation.filter import FILTERED
from factory.curation.passages import passages
from factory.curation.tags import reasoning_steps, tag


@pytest.fixture(scope="module")
def topics():
    from pydoc_data import topics

    return topics.topics


def cut(text, **settings):
    return list(passages(text, **{"code": False, "shortest": 300, "longest": 2_000, **settings}))


def test_passages_are_the_lines_that_they_say_they_are(topics):
    for text in (topics["typesmapping"], inspect.getsource(textwrap)):
        lines = text.split("\n")
        for passage in cut(text):
            assert passage.text == "\n".join(lines[passage.start - 1 : passage.end])
            assert 300 <= len(passage.text) <= 2_000


def test_passages_do_not_overlap_and_leave_little_out(topics):
    text = topics["dynamic-features"] + "\n\n" + topics["specialnames"]
    found = cut(text)
    assert all(before.end < after.start for before, after in pairwise(found))
    assert sum(len(passage.text) for passage in found) > 0.9 * len(text)


def test_definitions_stay_whole_where_they_fit():
    source = inspect.getsource(textwrap)
    found = cut(source, code=True)
    for function in (textwrap.indent, textwrap.dedent, textwrap.shorten):
        assert any(inspect.getsource(function).strip() in passage.text for passage in found)


def test_paragraphs_too_long_are_cut_at_lines_and_endless_lines_left_out():
    paragraph = "\n".join(f"line {i} of a paragraph without an end" for i in range(200))
    found = cut(paragraph)
    assert found[0].start == 1
    assert all(passage.text.startswith("line") and passage.text.endswith("end") for passage in found)
    assert cut("x" * 5_000) == []


def test_steps_join_assumptions_to_conclusions():
    text = (
        "If the list is empty, the function raises an error. Sorting is slow because every pair of items may be compared. "
        "The keys are unique, so the order of equal items is of no importance."
    )
    steps = [(step["assumption"], step["conclusion"]) for step in reasoning_steps(text)]
    assert steps == [
        ("the list is empty", "the function raises an error"),
        ("every pair of items may be compared", "Sorting is slow"),
        ("The keys are unique", "the order of equal items is of no importance"),
    ]
    tags = tag(text, code=False)
    assert tags.chain_of_reasoning
    assert tags.reasoning > 0.9


def test_a_list_of_names_reasons_less_than_an_explanation(topics):
    names = tag("\n".join(dir(inspect)), code=False)
    explanation = tag(topics["typesmapping"][:2_000], code=False)
    assert explanation.reasoning > names.reasoning + 0.3
    assert explanation.factual > names.factual
    assert tag(">>> 1 + 1\n2\n", code=False).information_type == "worked example"


def seeds(folder, documents, **section):
    given = stages.artefact(folder, "clean", documents, FILTERED)
    return stages.run(folder, "seed_passages", "seeds", section, {"clean_documents": given})


@pytest.fixture
def documents(topics):
    texts = [text for _, text in sorted(topics.items()) if len(text) > 3_000][:12]
    return [stages.document(text, f"topic {i}", language="en", quality=0.9 if i % 3 else 0.1) for i, text in enumerate(texts)]


def test_both_stages_choose_and_every_document_is_accounted_for(tmp_path, documents):
    lists = stages.document("\n\n".join("\n".join(f"name{i}_{j}" for j in range(60)) for i in range(5)), "list", quality=0.9)
    context = seeds(tmp_path, [*documents, lists])
    assert context.counts.dropped == {"low_educational": 4, "no_passage": 1}
    assert context.counts.kept == 8
    rows = stages.rows(context)
    parents = {row["parents"][0] for row in rows}
    assert parents == {document["id"] for document in documents if document["quality"] > 0.5}
    assert all(row["reasoning"] >= 0.3 or row["factual"] >= 0.5 for row in rows)
    assert {(row["source"], row["license"], row["language"]) for row in rows} == {("web", "CC0-1.0", "en")}
    assert len({row["id"] for row in rows}) == len(rows) == context.counts.made["passages"]


def test_the_best_come_first_and_the_limits_hold(tmp_path, documents):
    every = stages.rows(seeds(tmp_path / "all", documents))
    merits = [row["reasoning"] + row["factual"] + row["educational"] for row in every]
    assert merits == sorted(merits, reverse=True)
    best = stages.rows(seeds(tmp_path / "ten", documents, max_passages=10))
    assert [row["id"] for row in best] == [row["id"] for row in every[:10]]
    few = stages.rows(seeds(tmp_path / "few", documents, max_passages_a_document=2))
    assert len(few) == 16


def test_a_back_reference_depends_on_the_passage_before(tmp_path):
    first = "A queue is a list of items. If it is empty, waiting is the only thing that can be done about it. " * 4
    second = "As described above, the queue is a list. If an item is added, the one that waits longest is woken up. " * 4
    context = seeds(tmp_path, [stages.document(f"{first}\n\n{second}", quality=0.9)], max_passage_characters=500)
    dependencies = {row["start_line"]: row["dependencies"] for row in stages.rows(context)}
    assert dependencies == {1: [], 3: ["1-1"]}


def test_seeds_are_deterministic(tmp_path, documents):
    assert stages.digest(seeds(tmp_path / "1", documents), "passages") == stages.digest(seeds(tmp_path / "2", documents), "passages")
