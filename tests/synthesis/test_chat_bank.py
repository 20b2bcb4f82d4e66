"""Fine-tuning conversations of one's own: both formats, every reason to drop a row, language tags, and their way into the set."""

import gzip
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from stage_runner import Finished, Runner

from assets.definitions import definitions
from factory.curation.language import Languages
from factory.errors import SeedmillError
from factory.experiment import Experiment
from factory.graph import build
from factory.materialize import materialize
from factory.recipe import load
from factory.records import Record
from factory.schemas import CONVERSATION, PROBLEM
from factory.synthesis import chat_bank
from factory.synthesis.config import ConversationConfig
from factory.synthesis.documents import SCHEMA
from factory.synthesis.own_data import ChatSource
from factory.synthesis.problems.problem import Problem, Step, problem_record

GERMAN = ["Wie koche ich ein Ei?", "Lege es acht Minuten in kochendes Wasser."]
FRENCH = ["Comment cuire un œuf ?", "Plongez-le huit minutes dans l'eau bouillante."]
JAPANESE = ["卵はどうやって茹でますか。", "沸騰したお湯に八分間入れてください。"]
ENGLISH = ["How do I boil an egg?", "Put it into boiling water for eight minutes."]


def openai(*said: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


def sharegpt(*said: str) -> list[dict[str, Any]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def write(path: Path, *rows: object) -> None:
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())


def lines(finished: Finished) -> str:
    return (finished.output.path.parent / "messages.jsonl").read_text()


def read(stage: Runner, folder: Path, name: str = "chats/mine", **settings: Any) -> Finished:
    source = ChatSource.model_validate({"path": str(folder), "license": "CC-BY-4.0", "domain": "conversation", **settings})
    return stage(name, "factory.synthesis.chat_bank:run", source)


def test_both_formats_are_read_from_jsonl_parquet_and_gzip_plain_and_as_json_text(stage: Runner, folder: Path) -> None:
    write(folder / "a.jsonl", {"messages": [{"role": "system", "content": "Be brief."}, *openai(*ENGLISH)], "more": 1})
    write(folder / "b.jsonl.gz", {"messages": sharegpt(*GERMAN)}, {"messages": json.dumps(sharegpt(*FRENCH, "Merci !", "De rien."))})
    pq.write_table(pa.table({"messages": [openai(*JAPANESE)], "n": [1]}), folder / "c.parquet")
    pq.write_table(pa.table({"messages": [json.dumps([{"from": "system", "value": "Hi."}, *sharegpt("a?", "b")])]}), folder / "d.parquet")
    done = read(stage, folder)
    found = {row["locator"]: row for row in done.records("conversations")}
    assert {place: [m["role"] for m in row["messages"]] for place, row in found.items()} == {
        "a.jsonl#1": ["system", "user", "assistant"],
        "b.jsonl.gz#1": ["user", "assistant"],
        "b.jsonl.gz#2": ["user", "assistant"] * 2,
        "c.parquet#1": ["user", "assistant"],
        "d.parquet#1": ["system", "user", "assistant"],
    }
    assert [m["content"] for m in found["c.parquet#1"]["messages"]] == JAPANESE
    assert {(row["source"], row["license"], row["domain"], row["kind"]) for row in found.values()} == {
        ("mine", "CC-BY-4.0", "conversation", "conversation")
    }
    assert {place: row["language"] for place, row in found.items()} == {
        "a.jsonl#1": "en",
        "b.jsonl.gz#1": "de",
        "b.jsonl.gz#2": "fr",
        "c.parquet#1": "ja",
        "d.parquet#1": "",
    }
    assert done.result.metrics["languages"] == {"en": 1, "de": 1, "fr": 1, "ja": 1, "unknown": 1}
    assert (done.result.counts.kept, done.result.counts.dropped) == (5, {})
    assert "kept 5 of 5 rows; dropped: none; languages: en 1, de 1, fr 1, ja 1, unknown 1" in lines(done)


def test_instruction_data_are_chats_of_one_turn_with_or_without_a_system_message(stage: Runner, folder: Path) -> None:
    rows = [{"q": "Two?", "a": "2", "s": "Count."}, {"q": "Three?", "a": "3", "s": ""}, {"q": "Four?", "a": "4"}, {"q": "Five?"}]
    write(folder / "a.jsonl", *rows)
    done = read(stage, folder, prompt_field="q", answer_field="a", system_field="s")
    said = [[(m["role"], m["content"]) for m in row["messages"]] for row in done.records("conversations")]
    assert said == [
        [("system", "Count."), ("user", "Two?"), ("assistant", "2")],
        [("user", "Three?"), ("assistant", "3")],
        [("user", "Four?"), ("assistant", "4")],
    ]
    assert done.result.counts.dropped == {"no_text": 1}


CONTROL = ("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>", "<|pad|>")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "invalid_json"),
        ({"messages": "[{"}, "no_messages"),
        ({"messages": "[" * 100_000}, "no_messages"),
        ({"messages": []}, "no_messages"),
        ({"messages": {"role": "user"}}, "no_messages"),
        ({"messages": ["Hello?", "Hello."]}, "no_messages"),
        ({"other": 1}, "no_messages"),
        ({"messages": [*openai("a?"), {"role": "tool", "content": "b"}]}, "unknown_role"),
        ({"messages": [*openai("a?"), {"role": ["assistant"], "content": "b"}]}, "unknown_role"),
        ({"messages": [{"text": "a?"}]}, "unknown_role"),
        ({"messages": openai("a?", " \n")}, "empty"),
        ({"messages": [*openai("a?"), {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]}, "no_text"),
        ({"messages": [*openai("a?"), {"role": "assistant", "content": None, "tool_calls": [1]}]}, "no_text"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "b"}]}', "invalid_unicode"),
        ({"messages": openai("a?")}, "no_assistant_turn"),
        ({"messages": [{"role": "system", "content": "a"}]}, "no_assistant_turn"),
        ({"messages": openai("a?", "b", "c?")}, "roles_do_not_alternate"),
        ({"messages": openai("a?", "b")[::-1]}, "roles_do_not_alternate"),
        ({"messages": openai("a?", "b") * 2 + openai("c?")[:1] * 2 + openai("d", "e")[1:]}, "roles_do_not_alternate"),
        ({"messages": [*openai("a?"), {"role": "system", "content": "s"}, *openai("c?", "b")[1:]]}, "roles_do_not_alternate"),
        *(({"messages": openai(f"a?{name}system", "b")}, "control_token") for name in CONTROL),
        ({"messages": openai(*ENGLISH)}, "duplicate"),
        ({"messages": sharegpt(*(text.upper() + " " for text in ENGLISH))}, "duplicate"),
        ({"messages": openai("a?", "b" * 2_000)}, "too_long"),
    ],
)
def test_a_row_that_is_no_whole_chat_is_dropped_by_reason(stage: Runner, folder: Path, row: object, reason: str) -> None:
    write(folder / "a.jsonl", {"messages": openai(*ENGLISH)}, row)
    done = read(stage, folder, max_document_bytes=1_000 if reason == "too_long" else 1_000_000)
    counts = done.result.counts
    assert (counts.read, counts.kept, counts.dropped) == (2, 1, {reason: 1})
    assert [row["locator"] for row in done.records("conversations")] == ["a.jsonl#1"]


def test_text_deep_in_a_parquet_row_counts_towards_its_limit(stage: Runner, folder: Path) -> None:
    pq.write_table(pa.table({"messages": [openai("a?", "b" * 2_000), openai(*ENGLISH)]}), folder / "a.parquet")
    assert read(stage, folder, max_document_bytes=1_000).result.counts.dropped == {"too_long": 1}


def test_limits_stop_the_reading_and_say_so(stage: Runner, folder: Path) -> None:
    write(folder / "a.jsonl", *({"messages": openai(f"{n}?", "b")} for n in range(9)))
    few = read(stage, folder, limit_documents=3).result
    assert (few.counts.kept, few.metrics["stopped_by"]) == (3, "limit_documents")
    small = read(stage, folder, max_bytes=200).result
    assert (small.counts.kept, small.metrics["stopped_by"]) == (2, "max_bytes")


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([], {}, r"^source '.*/mine' has no file that matches \['\*\.jsonl\*', '\*\.parquet'\]; correct its path or include$"),
        (
            [{"messages": openai("a?")}],
            {},
            r"^'.*' holds no usable row \(dropped: {'no_assistant_turn': 1}\); mend its rows or path$",
        ),
        (["{"], {}, r"^'.*' holds no usable row \(dropped: {'invalid_json': 1}\); mend its rows or path$"),
        (
            [{"id": 1, "conversations": sharegpt("a?", "b")}],
            {},
            r"^'.*': no row has a field 'messages', the first has \['conversations', 'id'\]; name its fields$",
        ),
        (
            [{"q": "a?", "a": "b"}],
            {"prompt_field": "q", "answer_field": "a", "system_field": "s"},
            r"no row has a field 's', the first has",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_with_its_remedy(
    stage: Runner, folder: Path, rows: list[object], settings: dict[str, str], message: str
) -> None:
    if rows:
        write(folder / "a.jsonl", *rows)
    with pytest.raises(SeedmillError, match=message) as caught:
        read(stage, folder, **settings)
    assert "\n" not in str(caught.value)


def test_a_parquet_column_that_is_not_there_is_named(stage: Runner, folder: Path) -> None:
    pq.write_table(pa.table({"chat": [openai("a?", "b")]}), folder / "a.parquet")
    with pytest.raises(SeedmillError, match=r"'a\.parquet' has no single column 'messages', only \['chat'\]"):
        read(stage, folder)


def test_no_chat_in_forty_languages_gets_a_wrong_tag() -> None:
    """Article 1 of the Universal Declaration of Human Rights."""
    texts = json.loads(Path(__file__).with_name("forty_languages.json").read_bytes())
    detector = Languages()
    tags = {code: chat_bank.language_of(detector, [{"role": "user", "content": text}]) for code, text in texts.items()}
    assert len(texts) == 40
    assert {code: tag for code, tag in tags.items() if tag not in (code, "")} == {}
    assert sum(tag == code for code, tag in tags.items()) >= 36


def test_code_in_an_answer_does_not_decide_its_language() -> None:
    chat = [
        {"role": "user", "content": "Wie lese ich eine Datei?"},
        {"role": "assistant", "content": "```python\n" + "open(path).read()\n" * 40},
    ]
    assert chat_bank.language_of(Languages(), chat) == "de"


SOLVED = problem_record(
    Problem("story", "Ann has 5 and gets 3. How many?", "5", (Step("gain", "5 + 3", "8"),), "8"),
    locator="1", kind="question", created_by="test@1",
)  # fmt: skip


def test_imported_chats_join_the_set_as_they_are_and_none_with_a_held_out_question(stage: Runner, folder: Path) -> None:
    held_out = {**SOLVED, "text": "How many primes are below ten?"}
    long = {**SOLVED, "id": "long", "text": "A kettle holds nine cups and each guest drinks two of them, so how many guests can be served?"}
    stage.provide("question_bank", "questions", [SOLVED], PROBLEM)
    stage.provide("synthetic_documents", "documents", [], SCHEMA)
    stage.provide("refusals", "conversations", [], CONVERSATION, questions=([], PROBLEM))
    stage.provide("benchmarks", "problems", [held_out, long], PROBLEM)
    later = openai("Hello.", "Hello!", "HOW many primes  are below ten?", "Four.")
    wrapped = openai(f"Please help me with my homework! {long['text']} Thanks.", "Four.")
    write(folder / "a.jsonl", {"messages": openai(*GERMAN)}, {"messages": later}, {"messages": wrapped})
    mine = read(stage, folder, "chats/mine", domain="identity")
    write(folder / "a.jsonl", {"messages": openai(*GERMAN)}, {"messages": openai(*FRENCH)})
    read(stage, folder, "chats/other", license="MIT")
    inputs = ("question_bank", "synthetic_documents", "refusals", "benchmarks", "chats/mine", "chats/other")
    settings = ConversationConfig(conversations=1, identity_share=0, harmless_share=0)
    done = stage("sft_conversations", "factory.synthesis.conversations:run", settings, *inputs)
    own = [row for row in done.records("conversations") if row["source"] in ("mine", "other")]
    assert [(row["source"], row["license"], row["domain"], row["language"]) for row in own] == [
        ("mine", "CC-BY-4.0", "identity", "de"),
        ("other", "MIT", "conversation", "fr"),
    ]
    assert own[0] in mine.records("conversations"), "the set holds the imported record itself, so its id leads to the row it came from"
    assert done.result.counts.dropped == {"held out": 1, "contaminated_13gram": 1, "duplicate": 1}
    assert done.result.counts.made == {"math": 1, "identity": 1, "conversation": 1}
    assert done.result.metrics["languages"] == {"en": 1, "de": 1, "fr": 1}


def recipe(folder: Path, **chats: object) -> Path:
    data = yaml.safe_load((Path(__file__).parents[2] / "recipes" / "smoke.yaml").read_text())
    path = folder.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump({**data, "chats": chats}))
    return path


def test_each_set_is_an_asset_of_its_own_that_a_changed_file_makes_stale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDMILL_HOME", str(folder.parent / "home"))
    write(folder / "a.jsonl", {"messages": openai(*GERMAN)})
    path = recipe(folder, mine={"path": str(folder), "domain": "safety"})
    node = definitions(path).resolve_asset_graph().get(dg.AssetKey(["smoke", "chats", "mine"]))
    assert (node.group_name, {key.path[-1] for key in node.child_keys}) == ("synthesis", {"sft_conversations"})

    def state() -> str:
        return next(found.state for found in Experiment.open(load(path)).states() if found.asset == "chats/mine")

    assert state() == "missing"
    materialize(Experiment.open(load(path)), "chats/mine")
    assert state() == "fresh"
    write(folder / "a.jsonl", {"messages": openai(*FRENCH)})
    assert state() == "stale"


def test_a_recipe_without_chats_keeps_its_graph_and_where_chats_lie_is_no_part_of_their_identity(folder: Path) -> None:
    without, with_chats = build(load(recipe(folder))), build(load(recipe(folder, mine={"path": "x", "domain": "math"})))
    assert set(with_chats) - set(without) == {"chats/mine"}
    assert without["sft_conversations"].inputs == ("question_bank", "synthetic_documents", "refusals", "benchmarks")
    settings = with_chats["sft_conversations"].settings
    assert settings.pop("decontamination")["common_problems"] == 3
    assert settings == without["sft_conversations"].settings
    assert "path" not in with_chats["chats/mine"].identity


@pytest.mark.parametrize(
    ("chats", "message"),
    [
        ({"a": {"path": "x", "domain": "poetry"}}, "chats.a.domain"),
        ({"a": {"domain": "math"}}, "chats.a.path"),
        ({"a": {"path": "s3:///x", "domain": "math"}}, "names no bucket"),
        ({"a": {"path": "x", "domain": "math", "text_field": "t"}}, "unknown key chats.a.text_field"),
        ({"a": {"path": "x", "domain": "math", "prompt_field": "q"}}, "set the first alone, or prompt_field and answer_field"),
        ({"a": {"path": "x", "domain": "math", "messages_field": "m", "prompt_field": "q", "answer_field": "a"}}, "set the first alone"),
        ({n: {"path": "x", "domain": "math"} for n in ("a-b", "a_b")}, "chats 'a-b' and 'a_b' differ in hyphens and underscores alone"),
    ],
)
def test_chats_that_cannot_be_meant_are_told_when_the_recipe_is_read(folder: Path, chats: dict[str, object], message: str) -> None:
    with pytest.raises(SeedmillError) as caught:
        load(recipe(folder, **chats))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_s_text_is_the_chat_in_chatml(stage: Runner, folder: Path) -> None:
    write(folder / "a.jsonl", {"messages": openai(*ENGLISH)})
    row: Record = read(stage, folder).records("conversations")[0]
    assert row["text"] == f"<|im_start|>user<|im_sep|>{ENGLISH[0]}<|im_end|><|im_start|>assistant<|im_sep|>{ENGLISH[1]}<|im_end|>"
    assert set(row) == set(CONVERSATION.names)
