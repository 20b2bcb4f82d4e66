"""Questions of one's own: the forms of well-known sets, rows that are no question, what is held out, and the way to bank and benchmarks."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_runner import Finished, Runner

from factory.curation.imports import observe
from factory.errors import SeedmillError
from factory.preference.oracles import answer_is_correct
from factory.records import Record
from factory.synthesis.config import BenchmarksConfig, QuestionBankConfig
from factory.synthesis.own_data import QuestionSource
from factory.synthesis.question_sources import held_out

STAGE = "factory.synthesis.question_sources:run"
GSM8K = {"question": "Natalia sold 48 clips in April and half as many in May. How many in all?", "answer": "48/2 = <<48/2=24>>24.\n#### 72"}
MATH = {"question": "Solve $2x = 1$.", "answer": r"Dividing, $x = \boxed{\frac{1}{2}}$."}
MMLU = {"question": "What is the capital of France?", "choices": ["Lyon", "Paris", "Nice", "Metz"], "answer": 1}
ARC = {"question": "Which is a gas?", "choices": {"text": ["ice", "steam"], "label": ["1", "2"]}, "answer": "2"}
MBPP = {
    "question": "Write a function to find the shared elements of two tuples.",
    "tests": ["assert similar((3, 4),(5, 4)) == (4,)", "assert similar((1, 2),(3, 4)) == ()"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def read(stage: Runner, folder: Path) -> Any:
    def read(*rows: Any, name: str = "own", **settings: Any) -> Finished:
        (folder / "rows.jsonl").write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        (stage.folder / f"{stage.runs + 1:02d}-questions").mkdir(parents=True)
        return stage(f"questions/{name}", STAGE, QuestionSource(path=str(folder), **{"domain": "math", **settings}))

    return read


def only(finished: Finished) -> Record:
    (row,) = finished.records("questions")
    return row


@pytest.mark.parametrize(("row", "answer"), [(GSM8K, "72"), (MATH, r"\frac{1}{2}"), ({"question": "6 times 7?", "answer": 42}, "42")])
def test_of_a_worked_answer_the_known_one_is_what_it_states(read: Any, row: Record, answer: str) -> None:
    found = only(read(row, license="MIT"))
    assert (found["text"], found["answer"], found["family"]) == (row["question"], answer, "math")
    assert (found["license"], found["source"], found["locator"]) == ("MIT", "own", "rows.jsonl#1")


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (MMLU, "B) Paris"),
        (ARC, "B) steam"),
        ({**MMLU, "answer": "B"}, "B) Paris"),
        ({**MMLU, "answer": "Paris"}, "B) Paris"),
        ({**MMLU, "choices": json.dumps(MMLU["choices"])}, "B) Paris"),
    ],
)
def test_choices_join_the_question_and_the_key_names_letter_and_text(read: Any, row: Record, key: str) -> None:
    found = only(read(row, domain="multiple choice", choices_field="choices"))
    assert found["text"].split("\n")[0] == row["question"]
    assert key in found["text"].split("\n")[1:]
    assert found["answer"] == key
    right = key.partition(") ")[2]
    for stated in ("B", "(b)", key, right, f"B: {right}", "option B"):
        assert answer_is_correct(f"Answer: {stated}", found["answer"]), stated
    for stated in ("A", "B) Lyon", "Lyon", "A or B"):
        assert not answer_is_correct(f"Answer: {stated}", found["answer"]), stated


def test_a_letter_that_is_another_choices_text_names_none_unless_the_labels_are_the_sets_own(read: Any) -> None:
    groups = {"question": "Which blood group is it?", "choices": ["O", "A", "B", "AB"], "answer": "A"}
    counted = {"question": "How many?", "choices": {"text": ["3", "2", "1"], "label": ["1", "2", "3"]}, "answer": "1"}
    alike = {"question": "Which letter?", "choices": ["A", "B"], "answer": "B"}
    finished = read(groups, counted, alike, domain="multiple choice", choices_field="choices")
    assert finished.result.counts.dropped == {"answer_is_no_choice": 1}
    assert sorted(row["answer"] for row in finished.records("questions")) == ["A) 3", "B) B"]


def test_tests_are_the_key_and_the_question_says_what_the_function_is_called(read: Any) -> None:
    found = only(read(MBPP, domain="python", tests_field="tests", answer_field=""))
    assert found["text"].endswith("Write a Python function `similar`. For example, `similar((3, 4), (5, 4))` gives `[4]`.")
    assert answer_is_correct("def similar(a, b):\n    return tuple(x for x in a if x in b)", found["answer"])
    stub = {"question": 'def two():\n    """Two."""', "tests": "def check(candidate):\n    assert candidate() == 2", "entry_point": "two"}
    named = only(read(stub, domain="python", tests_field="tests", function_field="entry_point"))
    assert named["text"] == stub["question"]
    assert answer_is_correct("def two():\n    return 2", named["answer"])


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("Write a function to double a number.", True),
        ("Write a function doubled(x).", True),
        ("Write double(x).", False),
        ("Write a function `double`.", False),
        ("def double(x: int) -> int:", False),
    ],
)
def test_a_function_called_by_a_common_word_is_named_where_the_question_only_has_the_word(read: Any, question: str, told: bool) -> None:
    row = {"question": question, "tests": ["assert double(2) == 4"]}
    assert ("Write a Python function `double`." in only(read(row, domain="python", tests_field="tests"))["text"]) is told


def test_a_missing_value_or_a_truth_value_is_no_known_answer(read: Any) -> None:
    rows = [{"question": f"Question {answer}?", "answer": answer} for answer in (float("nan"), float("inf"), True, None, [1], {"a": 1})]
    finished = read(*rows, {"question": "1 + 1?", "answer": 2.0}, {"question": "10 to the 400?", "answer": 10**400})
    assert finished.result.counts.dropped == {"no_text": 6}
    two, large = finished.records("questions")
    assert answer_is_correct("Answer: 2", two["answer"])
    assert large["answer"] == str(10**400)


def test_every_row_that_is_no_question_is_dropped_by_its_reason(read: Any) -> None:
    choice = {"domain": "multiple choice", "choices_field": "choices"}
    bad = ["", "{", "[1]", {"question": " "}, {**MMLU, "answer": 4}, {**MMLU, "answer": True}, {**MMLU, "answer": "E"}]
    bad += [{**MMLU, "choices": ["a", "a"]}, {**MMLU, "choices": ["a"]}, {**MMLU, "choices": "no"}, {**MMLU, "choices": ["\ud800", "b"]}]
    counts = read(*bad, MMLU, {**MMLU, "question": " what is the  CAPITAL of france?"}, **choice).result.counts
    assert counts.dropped == {
        "empty": 2, "invalid_json": 1, "no_text": 1, "answer_is_no_choice": 3, "no_choices": 3, "invalid_unicode": 1, "duplicate": 1,
    }  # fmt: skip
    assert (counts.kept, counts.read) == (1, 13)
    tests = read({**MBPP, "tests": "assert abs(f(1)) < 2"}, MBPP, {"question": "none"}, domain="python", tests_field="tests")
    assert tests.result.counts.dropped == {"tests_not_understood": 2}


def test_packed_and_columnar_files_hold_the_same_questions(read: Any, folder: Path) -> None:
    (folder / "more.jsonl.gz").write_bytes(gzip.compress(json.dumps(MATH).encode()))
    pq.write_table(pa.Table.from_pylist([{"question": "1 + 1?", "answer": "2"}]), folder / "table.parquet")
    assert [row["answer"] for row in read(GSM8K).records("questions")] == [r"\frac{1}{2}", "72", "2"]


@pytest.mark.parametrize(
    ("rows", "settings", "error"),
    [
        (
            [GSM8K],
            {"text_field": "prompt"},
            "^'.*: no row has a field 'prompt', the first has .'answer', 'question'.; name its fields",
        ),
        ([{"question": "?", "answer": ""}], {}, "^'.* holds no usable row .dropped: ..empty.: 1..; mend its rows or path"),
    ],
)
def test_a_source_without_a_usable_row_is_one_clear_error(read: Any, rows: list[Record], settings: Any, error: str) -> None:
    with pytest.raises(SeedmillError, match=error):
        read(*rows, **settings)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"domain": "maths"}, "math"),
        ({"domain": "math", "tests_field": "t"}, "domain python"),
        ({"domain": "multiple choice", "choices_field": "c", "answer_field": ""}, "needs an answer_field"),
        ({"domain": "math", "answer_field": "", "held_out": 0.1}, "a benchmark has known answers"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        QuestionSource(path="x", **settings)


def test_a_question_is_tagged_with_its_language_where_that_is_sure(read: Any) -> None:
    german = {"question": "Wie viele Äpfel hat Anna, wenn sie erst fünf hat und dann drei verschenkt?", "answer": "2"}
    rows = {row["text"]: row["language"] for row in read(german, GSM8K, {"question": "1 + 1?", "answer": "2"}).records("questions")}
    assert list(rows.values()) == ["de", "en", ""]


def test_what_is_held_out_stays_so_whatever_else_a_source_holds() -> None:
    texts = [f"question {number}?" for number in range(2000)]
    few, more = ({text for text in texts if held_out(text, share)} for share in (0.1, 0.2))
    assert few < more
    assert 150 < len(few) < 250
    assert held_out("Question 7?", 0.5) == held_out("question  7?", 0.5)
    assert all(held_out(text, 1) and not held_out(text, 0) for text in texts)


def test_held_out_questions_are_benchmarks_and_the_bank_gets_the_rest_without_what_a_benchmark_holds(read: Any, stage: Runner) -> None:
    long = "A train leaves the old station at nine and another one at ten, where do they meet if both go at forty miles an hour?"
    rows = [{"question": f"What is {number} plus {number * 7} minus one?", "answer": str(8 * number - 1)} for number in range(60)]
    read(*rows, name="own", held_out=0.3)
    read({"question": long, "answer": "at noon"}, name="test", held_out=1)
    leak = {"question": f"{long} Say why.", "answer": "at noon"}
    read(leak, {"question": "What weighs more, a pound of lead or of wool?", "answer": "neither"}, name="leaky", domain="reasoning")
    benchmarks = stage("benchmarks", "factory.synthesis.benchmarks:run", BenchmarksConfig(problems=5), "questions/own", "questions/test")
    sources = ("questions/own", "questions/test", "questions/leaky")
    bank = stage("question_bank", "factory.synthesis.questions:run", QuestionBankConfig(problems=10), "benchmarks", *sources)
    held, kept = ({row["text"] for row in one.records(name)} for one, name in ((benchmarks, "problems"), (bank, "questions")))
    assert long in held
    assert {row["question"] for row in rows} <= held | kept
    assert not held & kept
    assert 5 + 1 + 5 < len(held) < 5 + 1 + 40
    assert bank.result.counts.dropped["contaminated_13gram"] == 1
    assert bank.result.metrics["own_questions"]["leaky"] == {"read": 2, "kept": 1}
    assert set(bank.result.metrics["own_questions"]) == {"own", "leaky"}, "all of `test` is held out"
    assert "What weighs more, a pound of lead or of wool?" in kept
    assert {row["family"] for row in bank.records("questions") if row["source"] == "leaky"} == {"reasoning"}
    assert bank.result.counts.read == bank.result.counts.kept + sum(bank.result.counts.dropped.values())


def test_a_short_question_of_a_benchmark_is_found_whatever_its_case(read: Any, stage: Runner) -> None:
    """Of one source all spellings are on one side, but two sources may hold the same question; seven words are needed for Algorithm 1."""
    read({"question": "Capital of France?", "answer": "Paris"}, {"question": "What is two?", "answer": "2"}, name="test", held_out=1)
    read({"question": "what is  TWO?", "answer": "2"}, name="more", held_out=1)
    read({"question": "capital of  FRANCE?", "answer": "Paris"}, {"question": "Who is he?", "answer": "Tom"}, name="own")
    read({"question": "who is HE?", "answer": "Tom"}, name="other")
    benchmarks = stage("benchmarks", "factory.synthesis.benchmarks:run", BenchmarksConfig(problems=5), "questions/test", "questions/more")
    sources = ("questions/own", "questions/other")
    bank = stage("question_bank", "factory.synthesis.questions:run", QuestionBankConfig(problems=10), "benchmarks", *sources)
    assert benchmarks.result.counts.dropped == {"duplicate": 1}
    assert bank.result.counts.dropped["benchmark"] == 1
    assert bank.result.counts.kept == 1 + 10


def test_a_changed_file_is_another_version(folder: Path) -> None:
    source = QuestionSource(path=str(folder), domain="math")
    (folder / "a.jsonl").write_text(json.dumps(GSM8K))
    before = observe(source)
    assert observe(source) == before
    (folder / "a.jsonl").write_text(json.dumps(MATH))
    assert observe(source) != before
