import random

import curation_stages as stages
import numpy as np
import pytest

from factory.curation.config import DedupConfig
from factory.curation.dedup import fingerprint
from factory.curation.filter import FILTERED
from factory.curation.shingles import jaccard, ngram_hashes, shingles, word_hashes
from factory.curation.similarity import NearDuplicates


@pytest.fixture(scope="module")
def topics():
    from pydoc_data import topics

    return [text for _, text in sorted(topics.topics.items()) if len(text) > 2_000]


def edited(text, share, generator):
    words = text.split(" ")
    for place in generator.sample(range(len(words)), int(share * len(words))):
        words[place] = f"edit{generator.randrange(10**6)}"
    return " ".join(words)


def dedup(folder, texts, sources=None, **section):
    documents = [stages.document(t, f"p{i:05}", (sources or ["web"] * len(texts))[i], quality=0.5) for i, t in enumerate(texts)]
    given = stages.artefact(folder, "filtered", documents, FILTERED)
    return stages.run(folder, "unique_documents", "dedup", section, {"filtered_documents": given})


def test_shingles_are_the_true_word_ngrams():
    assert jaccard(shingles("a b c d e f", 5), shingles("a b c d e g", 5)) == pytest.approx(1 / 3)
    assert len(shingles("one two", 5)) == 1
    words = word_hashes("the cat sat on the mat the cat sat")
    assert len(set(ngram_hashes(words, 3).tolist())) == 6
    assert ngram_hashes(words, 3)[0] == ngram_hashes(words, 3)[6]
    assert ngram_hashes(words[::-1].copy(), 3)[6] != ngram_hashes(words, 3)[0]
    assert ngram_hashes(words, 13).shape == (0,)


def test_texts_that_differ_in_white_space_and_case_are_exact_duplicates(tmp_path):
    context = dedup(tmp_path, ["Some text, said once.", "some  TEXT,\nsaid once. ", "Another text."])
    (evidence,) = stages.rows(context, "duplicates")
    assert [row["locator"] for row in stages.rows(context)] == ["p00000", "p00002"]
    assert (evidence["locator"], evidence["rule"], evidence["jaccard"]) == ("p00001", "exact", 1.0)
    assert evidence["duplicate_of"] == stages.rows(context)[0]["id"]
    assert fingerprint("ﬁne") == fingerprint("FINE")


def test_planted_edits_are_found_above_the_threshold_and_kept_below_it(tmp_path, topics):
    generator = random.Random(5)
    shares = [0.0005, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1]
    copies = [(text, edited(text, share, generator)) for text in topics for share in shares]
    context = dedup(tmp_path, [*topics, *(copy for _, copy in copies)])
    removed = {int(row["locator"][1:]) for row in stages.rows(context, "duplicates")}
    true = {i: jaccard(shingles(text, 5), shingles(copy, 5)) for i, (text, copy) in enumerate(copies, start=len(topics))}
    alike = [i for i, similarity in true.items() if similarity >= 0.85]
    assert len(alike) > 60
    assert sum(i in removed for i in alike) >= 0.98 * len(alike)
    assert not {i for i, similarity in true.items() if similarity < 0.5} & removed
    assert not set(range(len(topics))) & removed


def test_every_removal_is_a_true_pair_and_its_twin_stays(tmp_path, topics):
    generator = random.Random(6)
    texts = [edited(text, share, generator) for text in topics[:20] for share in (0, 0.005, 0.01, 0.02, 0.03)]
    context = dedup(tmp_path, texts)
    kept = {row["id"]: row["text"] for row in stages.rows(context)}
    evidence = stages.rows(context, "duplicates")
    assert len(evidence) > 20
    for row in evidence:
        true = jaccard(shingles(kept[row["duplicate_of"]], 5), shingles(texts[int(row["locator"][1:])], 5))
        assert row["jaccard"] == pytest.approx(true)
        assert true >= 0.8


def test_a_chain_of_small_edits_does_not_drag_unlike_documents_along(tmp_path, topics):
    generator = random.Random(7)
    chain = [topics[0]]
    for _ in range(30):
        chain.append(edited(chain[-1], 0.015, generator))
    ends = jaccard(shingles(chain[0], 5), shingles(chain[-1], 5))
    context = dedup(tmp_path, chain)
    assert ends < 0.1
    assert 3 < context.counts.kept < len(chain)


def test_candidates_for_one_document_are_capped_and_the_cap_is_reported(tmp_path):
    # Documents that share most shingles without being alike enough: each is a candidate of each.
    generator = random.Random(8)
    base = [f"w{i}" for i in range(150)]
    texts = [" ".join(base + [f"own{n}x{generator.randrange(10**9)}" for _ in range(60)]) for n in range(40)]
    index = NearDuplicates(DedupConfig(max_candidates=4), tmp_path)
    index.add(texts)
    assert list(index.matches()) == []
    assert index.unverified > 0


def test_a_source_that_loses_too_much_is_warned_about(tmp_path, topics):
    texts = [*topics[:4], *(topics[0] + f" {i}" for i in range(3)), "A page of its own. " * 3]
    context = dedup(tmp_path, texts, ["web"] * 4 + ["copies"] * 4)
    assert context.metrics["lost_by_source"] == {"copies": 0.75, "web": 0.0}
    (warning,) = context.metrics["warnings"]
    assert "'copies' lost 75%" in warning


def test_nothing_in_is_nothing_out(tmp_path):
    assert dedup(tmp_path, []).counts.read == 0
    assert dedup(tmp_path / "dots", ["...", "???"]).counts.read == 2


def test_word_hashes_are_the_same_on_every_machine():
    assert word_hashes("Hello, wörld").tolist() == [907060870, 3853197891]
    assert ngram_hashes(np.arange(3, dtype=np.uint64), 2).dtype == np.uint64
