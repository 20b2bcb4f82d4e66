"""Tests of code questions, read as published sets write them: what is understood, and that nothing weaker ever stands for the rest."""

import datetime
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.preference.code import CodeTests
from factory.preference.oracles import answer_is_correct
from factory.synthesis.asserts import example, read_tests

MBPP = [
    "assert similar((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)",
    "assert similar((1, 2, 3, 4),(5, 4, 3, 7)) == (3, 4)",
]
HUMAN_EVAL = """
METADATA = {'author': 'jt', 'dataset': 'test'}

def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0], 0.3) == True
    assert candidate([1.0, 2.0], 0.05) == False
    assert True, "This prints if this assert fails"
"""
APPS = json.dumps({"fn_name": "double", "inputs": [[1], [4]], "outputs": [2, 8]})
LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


def test_asserts_keep_the_types_of_arguments_that_json_lacks() -> None:
    tests = read_tests(MBPP, "")
    assert tests is not None
    assert (tests.function, tests.inputs[0], tests.outputs[0]) == ("similar", "((3, 4, 5, 6), (5, 7, 4, 10))", [4, 5])
    assert example(tests) == "`similar((3, 4, 5, 6), (5, 7, 4, 10))` gives `[4, 5]`"
    key = tests.model_dump_json()
    assert answer_is_correct("```python\ndef similar(a, b):\n    return tuple(sorted(x for x in a if {a: b}[a].count(x)))\n```", key)
    assert not answer_is_correct("def similar(a, b):\n    return a", key)


def test_the_stand_in_of_human_eval_is_the_named_function_and_nothing_without_a_name() -> None:
    tests = read_tests(HUMAN_EVAL, "has_close")
    assert tests is not None
    assert (tests.function, tests.outputs) == ("has_close", [True, False])
    assert read_tests(HUMAN_EVAL.replace("candidate([1.0, 2.0], 0.05)", "other([1.0], 1)"), "has_close") is None


def test_an_object_of_inputs_and_outputs_is_understood_as_text_and_as_it_is() -> None:
    assert read_tests(APPS, "") == read_tests(json.loads(APPS), "") == CodeTests(function="double", inputs=[[1], [4]], outputs=[2, 8])


def test_of_apps_the_bare_values_are_expected_where_each_stands_in_a_list() -> None:
    wrapped = read_tests({"fn_name": "twice", "inputs": [["ab"], ["c"]], "outputs": [["abab"], ["cc"]]}, "")
    assert wrapped is not None
    assert wrapped.outputs == ["abab", "cc"]
    assert answer_is_correct("def twice(text):\n    return text * 2", wrapped.model_dump_json())
    lists = {"fn_name": "pair", "inputs": [[1], [2]], "outputs": [[1], [2, 2]]}
    assert read_tests(lists, "") == CodeTests(function="pair", inputs=[[1], [2]], outputs=[[1], [2, 2]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "assert f(1) == 2\nassert g(1) == 2",
        "assert abs(f(1) - 2) < 1e-6",
        "for i in range(3):\n    assert f(i) == i",
        "assert f(x=1) == 2",
        "assert f(1) == g(2)",
        "assert f(1) == {1: 2}[1]",
        "assert f(1) == float('nan')",
        "assert f(1) == b'x'",
        "assert m.f(1) == 2",
        "assert f(1) != 2",
        "assert f(1) == 2 == 2",
        "not python (",
        '{"inputs": [[1]], "outputs": [2]}',
        '{"fn_name": "f", "inputs": [[1]], "outputs": []}',
        '{"fn_name": "f", "inputs": ["1"], "outputs": [1]}',
        "{broken",
        "assert " + "(" * 5000 + "f(1)" + ")" * 5000,
        "assert f([" + "1, " * 100_000 + "]) == 1",
        json.dumps({"fn_name": "f", "inputs": ["([" + "1, " * 100_000 + "],)"], "outputs": [1]}),
        '{"fn_name": "f", "inputs": [[1]], "outputs": [Infinity]}',
        '{"fn_name": "f", "inputs": [[NaN]], "outputs": [1]}',
        '{"fn_name": "f", "inputs": [[1]], "outputs": ' + "[" * 900 + "]" * 900 + "}",
    ],
)
def test_what_is_not_understood_whole_is_not_understood_at_all(text: str) -> None:
    assert read_tests(text, "") is None


def test_a_set_is_written_the_same_in_every_process() -> None:
    """Sets of texts are ordered by a hash that each process salts anew: a digest that follows it is never met again."""
    source = "assert Union({'a', 'b', 'c'}, [{'d', 'e'}]) == {'x', 'y', 'z', ('u', 'v')}"
    script = f"from factory.synthesis.asserts import *; t = read_tests({source!r}, ''); print(t.model_dump_json(), example(t))"
    said = {
        subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in "123"
    }
    assert len(said) == 1
    tests = read_tests(source, "")
    assert tests is not None
    assert example(tests).startswith("`Union({'a', 'b', 'c'}, [{'d', 'e'}])` gives ")


@pytest.mark.parametrize("value", [float("inf"), b"x", b"\xff", datetime.date(2026, 1, 1)])
def test_what_a_column_holds_and_json_does_not_is_not_understood(value: object) -> None:
    assert read_tests({"function": "f", "inputs": [[1]], "outputs": [value]}, "") is None


@pytest.mark.parametrize("value", [None, 3, ["assert f(1) == 1", 2], [["assert f(1) == 1"]]])
def test_what_is_no_text_is_not_understood(value: object) -> None:
    assert read_tests(value, "") is None


@given(st.lists(LITERALS, max_size=3), LITERALS)
def test_any_literals_come_back_as_they_were_written(arguments: list[object], value: object) -> None:
    call = ", ".join(map(repr, arguments))
    tests = read_tests(f"assert f({call}) == {value!r}", "")
    assert tests is not None
    assert tests.inputs == [repr(tuple(arguments))]
    assert tests == CodeTests.of(tests.model_dump_json())
