import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stage_bench import Bench

from factory.cli.pivots import draw, look
from factory.errors import SeedmillError
from factory.preference.figure import Trajectory
from factory.records import new_record

SHOWN = Trajectory("How many?", ("So", "[b]", " 8"), (-0.1, -3.0, -0.01), (0.5, 0.5, 0.9, 1.0), (1,), 0.2, 8)
SIDE = {"text": " 8", "log_prob": -1.0, "success": 0.9}
PAIR_RECORD = new_record(
    source="bank", locator="1", text="How many?\nSo\n+' 8'\n-' 9'", kind="pivotal_token", created_by="test@1", domain="math",
    question="abc", prompt=[1], chosen=[2], rejected=[3], evidence=json.dumps({"chosen": SIDE, "rejected": {**SIDE, "text": " 9"}}),
)  # fmt: skip


@dataclass
class Named:
    name: str


@dataclass
class Made:
    """A version of `pivotal_pairs`, with as much of a manifest and of a store as the command reads."""

    folder: Path
    outputs_made: list[Named]
    asset: str = "pivotal_pairs"
    version: str = "1"

    @property
    def outputs(self) -> Any:
        return self.outputs_made


class Shelf:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def outputs(self, *_: object, **__: object) -> Path:
        return self.folder


@pytest.fixture
def made(tmp_path: Path) -> tuple[Any, Any]:
    bench = Bench(tmp_path)
    bench.put("pivotal_pairs", "pairs", [PAIR_RECORD, {**PAIR_RECORD, "id": "other", "kind": "refusal_pair"}])
    folder = bench.give("pivotal_pairs")
    (folder / "trajectory.json").write_text(json.dumps(asdict(SHOWN)))
    return Shelf(folder), Made(folder, [Named("pairs"), Named("trajectory.json")])


def printed(result: dict[str, Any]) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    draw(result, console)
    return console.export_text()


def test_the_answer_is_drawn_with_its_pivots_in_brackets(made: tuple[Any, Any]) -> None:
    text = printed(look(*made, None))
    assert "So[[b]] 8" in text
    assert "0.50" in text
    assert "0.90" in text


@pytest.mark.parametrize("asked", ["abc", "how MANY"])
def test_a_question_is_found_by_id_or_text_and_only_its_pivotal_pairs_are_shown(made: tuple[Any, Any], asked: str) -> None:
    result = look(*made, asked)
    assert len(result["pairs"]) == 1
    assert "chosen ' 8': p(success) 0.90" in printed(result)


def test_a_question_s_searched_answers_are_drawn_where_the_search_looked(made: tuple[Any, Any]) -> None:
    shelf, version = made
    looked = {**asdict(SHOWN), "success": (0.5, 0.5, 0.9, None), "samples": 0}
    lines = [json.dumps({"id": name, **looked, "question": text}) for name, text in (("abc", "How many?"), ("other", "Where?"))]
    (shelf.folder / "answers.jsonl").write_text("\n".join(lines))
    version.outputs_made.append(Named("answers.jsonl"))
    result = look(shelf, version, "abc")
    assert [answer["id"] for answer in result["answers"]] == ["abc"]
    text = printed(result)
    assert "So[[b]] 8" in text
    assert "the rollouts of the search, where it looked" in text
    assert "chosen ' 8'" in text


def test_what_is_not_there_is_said(made: tuple[Any, Any]) -> None:
    shelf, version = made
    with pytest.raises(SeedmillError, match="no pair of a question like 'xyz'"):
        look(shelf, version, "xyz")
    version.outputs_made = [Named("pairs")]
    with pytest.raises(SeedmillError, match="no pivot was verified"):
        look(shelf, version, None)
