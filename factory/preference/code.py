"""Does the code in an answer pass its tests? It runs in the limited process of `factory.synthesis.validate`, or not at all.

What may run is in `factory.preference.submitted_code`. Values are compared as Python compares them, with a tolerance for floats,
and in the types of JSON, in which tests are written: a tuple or a deque is a list, a set a list in any order.
"""

import ast
import json
import math
import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from factory.preference.submitted_code import BUILTINS, MODULES, prepared
from factory.synthesis.validate import RefusedCodeError, run_checked

TOLERANCE = 1e-9
LONGEST_LITERALS = 200_000
"""Characters of Python literals that are read: each takes 700 bytes of memory, and four million of them ten seconds."""
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


class CodeTests(BaseModel):
    """The answer of a question that asks for code, as JSON: calls of a function, and what each must return."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    function: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    inputs: list[list[Any] | str] = Field(min_length=1)
    """The arguments of each call: a list, or a Python tuple as text where JSON has no word for them (`((1, 2), {3})`)."""
    outputs: list[Any]

    @model_validator(mode="after")
    def _one_output_each(self) -> Self:
        if len(self.inputs) != len(self.outputs):
            raise ValueError(f"{len(self.inputs)} inputs but {len(self.outputs)} outputs: give one output for each")
        return self

    @field_validator("inputs")
    @classmethod
    def _texts_are_tuples(cls, inputs: list[list[Any] | str]) -> list[list[Any] | str]:
        for text in inputs:
            if isinstance(text, str) and not _is_tuple(text):
                raise ValueError(f"input {text!r} is not the text of a Python tuple")
        return inputs

    @classmethod
    def of(cls, answer: str) -> "CodeTests | None":
        """The tests that a known answer holds; None where it is an answer of another kind."""
        if not answer.startswith("{"):
            return None
        try:
            return cls.model_validate_json(answer)
        except ValidationError:
            return None


def _is_tuple(text: str) -> bool:
    try:
        return len(text) <= LONGEST_LITERALS and isinstance(ast.literal_eval(text), tuple)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def passes(text: str, tests: CodeTests) -> bool:
    """Whether the last fenced block of `text` (else all of it) defines a function that passes every test."""
    blocks = _FENCE.findall(text)
    try:
        solution = prepared((blocks[-1] if blocks else text).strip(), tests.function)
    except RefusedCodeError:
        return False
    modules = {name: MODULES[name] for name in solution.imports}
    outcome = run_checked(solution.source, tests.function, tests.inputs, BUILTINS, modules)
    expected = json.loads(json.dumps(tests.outputs))
    return len(outcome.results) == len(expected) and all(map(_gives, outcome.results, expected))


def _gives(result: str, expected: Any) -> bool:
    """Whether the repr of a value, or what was raised, is the expected value."""
    try:
        value = ast.literal_eval(result)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return same(value, expected)


def same(value: Any, expected: Any) -> bool:
    """Equal as Python's `==` has it where both are written as JSON; floats within 1e-9, relative or absolute."""
    if isinstance(value, float) or isinstance(expected, float):
        numbers = isinstance(value, int | float) and isinstance(expected, int | float)
        return numbers and math.isclose(value, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(expected, list):
        return _same_items(value, expected)
    if isinstance(expected, dict) and isinstance(value, dict):
        keyed = {key if isinstance(key, str) else json.dumps(key, default=repr): item for key, item in value.items()}
        return keyed.keys() == expected.keys() and all(same(keyed[key], item) for key, item in expected.items())
    return bool(value == expected)


def _same_items(value: Any, expected: list[Any]) -> bool:
    if not isinstance(value, list | tuple | set | frozenset) or len(value) != len(expected):
        return False
    if isinstance(value, list | tuple):
        return all(map(same, value, expected))
    pairs = [(item, one) for item in value for one in expected if same(item, one)]
    return {repr(item) for item, _ in pairs} == set(map(repr, value)) and {repr(one) for _, one in pairs} == set(map(repr, expected))
