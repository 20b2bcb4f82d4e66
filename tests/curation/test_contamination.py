import random
import time

import curation_stages as stages
import pytest

from factory.curation.config import OPTION_GRIDS, DecontaminationConfig
from factory.curation.contamination import Decontaminator, words_of
from factory.curation.filter import FILTERED
from factory.schemas import PROBLEM

TRAINING = (
    "There are some oarsmen in a boat. The average weight is increased by 1.8 kg when one of the crew, who weighs 53 kg, is replaced "
    "by a new man who weighs 71 kg. How many oarsmen are there in the boat?"
)
BENCHMARK = (
    "The average weight of 10 oarsmen in a boat is increased by 1.8 kg when one of the crew, who weighs 53 kg is replaced by a new man. "
    "Find the weight of the new man.A. 71 B. 62 C. 43 D. 67 E. 40"
)


def decontaminator(*texts, **settings):
    return Decontaminator([{"id": f"p{i}", "text": text} for i, text in enumerate(texts)], DecontaminationConfig(**settings))


def sentence(number, words=40):
    return " ".join(random.Random(number).choices([f"word{i}" for i in range(400)], k=words))


def test_the_worked_example_of_the_paper_comes_out_to_the_last_digit():
    verdict = decontaminator(BENCHMARK).check(TRAINING)
    assert verdict.verdict == "contaminated_13gram"
    assert verdict.ratio == 0.39473684210526316 == 15 / 38
    assert len(verdict.overlaps) == 15
    assert "one of the crew who weighs 53" in verdict.overlaps
    assert (len(words_of(TRAINING)), len(words_of(BENCHMARK))) == (44, 47)


def test_the_segment_is_a_13gram_of_both_texts():
    segment = decontaminator(BENCHMARK).check(TRAINING).segment
    assert len(segment.split(" ")) == 13
    assert all(segment in " ".join(words_of(text)) for text in (TRAINING, BENCHMARK))


@pytest.mark.parametrize("grid", OPTION_GRIDS)
def test_answer_grids_are_allowed(grid):
    benchmark = f"Which of these statements holds? {grid}"
    training = f"An entirely different question about ships and their sails. {grid}"
    assert decontaminator(benchmark, contaminated_threshold=1.0).check(training).verdict != "contaminated_13gram"
    assert decontaminator(benchmark, contaminated_threshold=1.0, allowed_phrases=()).check(training).verdict == "contaminated_13gram"


def test_what_many_problems_share_identifies_none_of_them():
    boilerplate = "read the following passage with care and then answer the question that is printed below it"
    problems = [f"{boilerplate} {sentence(i)}" for i in range(3)]
    training = f"{boilerplate} {sentence(99)}"
    assert decontaminator(*problems).check(training).verdict != "contaminated_13gram"
    assert decontaminator(*problems[:2]).check(training).verdict == "contaminated_13gram"
    assert decontaminator(*problems).check(f"Here: {problems[1]}").problem == "p1"


def test_thresholds_are_strict_for_evidence_and_inclusive_for_contamination():
    # Every twelfth word differs: no 13-gram is shared, and 5 of 11 7-grams are.
    words = sentence(1, 100).split(" ")
    changed = [f"other{i}" if i % 12 == 11 else word for i, word in enumerate(words)]
    ratio = decontaminator(" ".join(words), info_threshold=0.0).check(" ".join(changed)).ratio
    assert 0.4 < ratio < 0.6
    for info, contaminated, expected in ((0.1, ratio, "contaminated_7gram"), (0.1, ratio + 1e-9, "partial"), (ratio, ratio + 0.1, "clean")):
        config = {"info_threshold": info, "contaminated_threshold": contaminated}
        assert decontaminator(" ".join(words), **config).check(" ".join(changed)).verdict == expected


@pytest.mark.parametrize("text", ["", "one", "only six words are in here", "?!...", "\x00 \ud7ff"])
def test_texts_of_fewer_than_seven_words_divide_by_nothing(text):
    assert decontaminator(BENCHMARK, "too short", "").check(text).verdict == "clean"
    assert decontaminator().check(BENCHMARK).verdict == "clean"


def test_hashing_agrees_with_plain_sets_of_words():
    problems = [sentence(i, 30) for i in range(50)]
    checker = decontaminator(*problems)
    plain = {tuple(words_of(p)[i : i + 13]) for p in problems for i in range(18)}
    for number in range(200):
        generator = random.Random(number)
        text = sentence(1000 + number, 60)
        if number % 2:
            words, start = problems[number % 50].split(" "), generator.randrange(18)
            text = " ".join([text, *words[start : start + generator.randint(8, 20)], sentence(5000 + number, 60)])
        words = words_of(text)
        expected = any(tuple(words[i : i + 13]) in plain for i in range(len(words)))
        assert (checker.check(text).verdict == "contaminated_13gram") == expected


@pytest.fixture(scope="module")
def reference():
    from pydoc_data import topics

    return [text for _, text in sorted(topics.topics.items())]


def test_precision_and_recall_on_planted_problems(reference):
    problems = [f"{sentence(i, 12)} how many {sentence(i + 500, 15)}?" for i in range(100)]
    checker = decontaminator(*problems)
    planted = [f"{host} {problem.upper()}\n{host}" for host, problem in zip(reference, problems, strict=False)]
    assert all(checker.check(text).contaminated for text in planted)
    assert not any(checker.check(text).contaminated for text in reference)


def test_a_clean_document_costs_far_less_than_a_millisecond(reference):
    texts = [text[i : i + 2_500] for text in reference for i in range(0, len(text) - 2_500, 2_500)]
    checker = decontaminator(*(reference[0][i : i + 300] for i in range(0, 3000, 300)), *(sentence(i) for i in range(1000)))
    begin = time.process_time()
    for text in texts:
        checker.check(text)
    assert (time.process_time() - begin) / len(texts) < 0.001


def test_the_stage_drops_with_evidence_and_finds_its_own_controls(tmp_path, reference):
    host = reference[0]
    partial = " ".join("other" if i % 12 == 11 else word for i, word in enumerate(words_of(BENCHMARK)))
    texts = [host, f"{host}\n{BENCHMARK}", reference[1], partial]
    documents = [stages.document(text, f"d{i}", quality=0.5) for i, text in enumerate(texts)]
    columns = {"family": "boat", "answer": "71", "steps": [], "solution": ""}
    problems = [stages.document(BENCHMARK, "oarsmen", "agieval", "problem", **columns)]
    inputs = {
        "unique_documents": stages.artefact(tmp_path, "unique", documents, FILTERED),
        "benchmarks": stages.artefact(tmp_path, "benchmarks", problems, PROBLEM, "problems"),
    }
    context = stages.run(tmp_path, "clean_documents", "decontaminate", {}, inputs)
    evidence = {row["locator"]: row for row in stages.rows(context, "contamination")}
    assert [row["locator"] for row in stages.rows(context)] == ["d0", "d2", "d3"]
    assert context.counts.dropped == {"contaminated_13gram": 1}
    assert (evidence["d1"]["problem"], evidence["d1"]["verdict"]) == (problems[0]["id"], "contaminated_13gram")
    assert evidence["d3"]["verdict"] == "partial"
    assert evidence["d3"]["overlaps"]
    assert context.metrics["control_recall"] == 1.0
