import json
from types import SimpleNamespace

import dagster as dg
import pytest

from assets.checks import ACCOUNTED, HAS_PAIRS, NOT_EMPTY, PROMOTED, Check
from factory.spec import Counts, Output

KEY = dg.AssetKey(["smoke", "thing"])


def output(name: str, rows: int | None) -> Output:
    return Output(name=name, kind="records", files={}, bytes=0, digest="", rows=rows)


def judge(check: Check, folder=None, **manifest) -> dg.AssetCheckResult:
    experiment = SimpleNamespace(store=SimpleNamespace(outputs=lambda _: folder))
    return check.result(KEY, experiment, SimpleNamespace(**manifest))


@pytest.mark.parametrize(("dropped", "passed"), [({"too_short": 2, "language": 1}, True), ({"too_short": 2}, False)])
def test_a_record_that_went_missing_fails_the_count(dropped, passed):
    result = judge(ACCOUNTED, counts=Counts(read=10, kept=7, dropped=dropped))
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.ERROR)
    assert result.description == f"10 read, 7 kept, {sum(dropped.values())} dropped"


@pytest.mark.parametrize(
    ("outputs", "passed"),
    [([("documents", 3), ("evidence", 0)], True), ([("documents", 0), ("evidence", 9)], False), ([("model", None)], True), ([], True)],
)
def test_the_first_record_set_must_not_be_empty(outputs, passed):
    assert judge(NOT_EMPTY, outputs=[output(*pair) for pair in outputs]).passed is passed


def test_no_pairs_fail():
    result = judge(HAS_PAIRS, output=lambda name: output(name, 0))
    assert (result.passed, result.description) == (False, "0 pairs")


def test_a_failed_gate_is_a_warning_that_names_the_broken_rules_and_keeps_all_values(tmp_path):
    rules = [
        {"name": "greedy_accuracy", "value": 0.125, "sense": "at least", "threshold": 0.2, "holds": False},
        {"name": "unsafe_compliance", "value": 0.1, "sense": "at most", "threshold": 0.5, "holds": True},
    ]
    (tmp_path / "gate.json").write_text(json.dumps({"passed": False, "rules": rules}))
    result = judge(PROMOTED, tmp_path)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.description == "greedy_accuracy is 0.125, not at least 0.2"
    assert result.metadata["unsafe_compliance"].value == 0.1
