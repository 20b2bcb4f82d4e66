"""The tests of a code question as published sets write them, read as data: nothing of them is run.

Understood are asserts on one call of the function with literal values (MBPP, HumanEval), and an object with the function's name, inputs and
outputs (APPS). What does more than that, such as a loop or a comparison within a tolerance, is not understood, and the question
with it: fewer tests than its author wrote would let wrong code pass.
"""

import ast
import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from factory.preference.code import LONGEST_LITERALS, CodeTests

STAND_IN = "candidate"
"""What HumanEval's asserts call the function under test."""


def read_tests(value: object, function: str) -> CodeTests | None:
    """The tests that a field holds, for the named function, or else for the one that they call; None where they are not understood."""
    if isinstance(value, dict):
        return _from_object(value)
    source = "\n".join(value) if isinstance(value, list) and all(isinstance(line, str) for line in value) else value
    if not isinstance(source, str):
        return None
    return _from_json(source) if source.lstrip().startswith("{") else _from_asserts(source, function)


def example(tests: CodeTests) -> str:
    """The first test as text: `add(1, 2)` gives `3`."""
    return f"`{tests.function}({', '.join(_written(tests.inputs[0]))})` gives `{tests.outputs[0]!r}`"


def _written(arguments: list[Any] | str) -> list[str]:
    """Each argument as Python text; a set in its author's order, for that of `repr` is another in every process."""
    if isinstance(arguments, list):
        return list(map(repr, arguments))
    parsed = ast.parse(arguments.strip(), mode="eval").body
    return list(map(ast.unparse, parsed.elts)) if isinstance(parsed, ast.Tuple) else []


@dataclass(frozen=True)
class _Case:
    function: str
    arguments: str
    value: Any


def _from_json(source: str) -> CodeTests | None:
    try:
        value = json.loads(source)
    except (ValueError, RecursionError):
        return None
    return _from_object(value)


def _from_object(value: dict[str, Any]) -> CodeTests | None:
    outputs = value.get("outputs")
    if "fn_name" in value and isinstance(outputs, list) and all(isinstance(output, list) and len(output) == 1 for output in outputs):
        outputs = [output for (output,) in outputs]  # part of APPS has each value in a list; its own harness takes the bare one
    return _made(value.get("function") or value.get("fn_name"), value.get("inputs"), outputs)


def _made(function: Any, inputs: Any, outputs: Any) -> CodeTests | None:
    """The tests; None where they are none, or where the JSON of a record does not say them: infinities, bytes, lists too deep."""
    try:
        tests = CodeTests(function=function, inputs=inputs, outputs=outputs)
        return tests if CodeTests.of(tests.model_dump_json()) == tests else None
    except (ValidationError, PydanticSerializationError):
        return None


def _from_asserts(source: str, function: str) -> CodeTests | None:
    if len(source) > LONGEST_LITERALS:
        return None
    try:
        asserted = [node.test for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
        cases = [_case(test) for test in asserted if not isinstance(test, ast.Constant)]
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return None
    called = {case.function for case in cases}
    name = function or next(iter(called), "")
    if not called or called - {name, STAND_IN if function else name}:
        return None
    return _made(name, [case.arguments for case in cases], [case.value for case in cases])


def _case(test: ast.expr) -> _Case:
    """One assert; raises ValueError or TypeError where it is of another form."""
    match test:
        case ast.Compare(left=ast.Call() as call, ops=[ast.Eq() | ast.Is()], comparators=[right]):
            value = ast.literal_eval(right)
        case ast.Call() as call:
            value = True
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call):
            value = False
        case _:
            raise ValueError("an assert of another form")
    if not isinstance(call.func, ast.Name) or call.keywords:
        raise ValueError("a call of another form")
    arguments = ast.Tuple(call.args, ast.Load())
    ast.literal_eval(arguments)  # or it raises: they are no literals
    return _Case(call.func.id, ast.unparse(arguments), json.loads(json.dumps(value, default=_listed, allow_nan=False)))


def _listed(value: object) -> list[Any]:
    """A set as JSON has it, in an order that is the same in every process; anything else that is no JSON is not understood."""
    if isinstance(value, set):
        return sorted(value, key=repr)
    raise TypeError(f"{value!r} is no JSON value")
