import json

import pytest

from factory.errors import SeedmillError
from factory.lineage.report import read_summary, report


def test_a_report_says_what_each_stage_took_and_how_good_each_checkpoint_is(small):
    summary = {"started": "now", "made": 3, "cpu_seconds": 9.0, "wall_seconds": 12.0, "peak_rss_bytes": 5, "load": [1, 2]}
    found = report(small.store, "smoke", list(small.latest), 0.05, summary)
    assert {name: found[name] for name in summary} == summary
    assert [row["asset"] for row in found["stages"]] == list(small.latest)
    clean = found["stages"][1]
    assert (clean["records"], clean["seconds"], clean["cpu_seconds"], clean["cost"]) == (3, 2.0, 1.5, 0.0)
    base, middle, sft = found["checkpoints"]
    assert base["greedy"] == {"correct": 5, "n": 40, "accuracy": 0.125, "low": base["greedy"]["low"], "high": base["greedy"]["high"]}
    assert base["greedy"]["low"] < 0.125 < base["greedy"]["high"]
    assert base["predecessor"] is None
    assert "change" not in base
    assert (middle["predecessor"], middle["change"]["sampled"]["verdict"]) == ("pretrained_checkpoint", "no significant change")
    assert (sft["predecessor"], sft["change"]["greedy"]["verdict"], sft["change"]["greedy"]["gained"]) == (
        "midtrained_checkpoint",
        "rose",
        25,
    )
    assert found["model_card"].endswith("README.md")


def test_a_report_on_nothing_is_empty_and_a_run_that_never_was_has_no_summary(small, tmp_path):
    assert read_summary(tmp_path / "last.json") == {}
    found = report(small.store, "nobody", list(small.latest), 0.05, {})
    assert found["stages"] == found["checkpoints"] == []
    assert found["wall_seconds"] is found["model_card"] is None
    (tmp_path / "last.json").write_text(json.dumps({"cpu_seconds": 1.0}))
    assert read_summary(tmp_path / "last.json") == {"cpu_seconds": 1.0}


@pytest.mark.parametrize("damaged", ["{", "", "[]", "\xff"])
def test_a_summary_that_was_damaged_is_one_line_that_says_what_to_remove(tmp_path, damaged):
    (tmp_path / "last.json").write_bytes(damaged.encode("latin-1"))
    with pytest.raises(SeedmillError, match=r"^[^\n]*last\.json [^\n]*: remove it, and the next run writes it again$"):
        read_summary(tmp_path / "last.json")
