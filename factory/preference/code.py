"""Does the code in an answer pass its tests? It runs in the sandbox of `factory.synthesis.validate`, or not at all.

Only one function within that module's small subset of Python ever runs: no import, no attribute beyond named methods, and a
process of its own with hard limits on time, memory, processes and files.
"""

import json
import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from factory.synthesis.validate import RefusedCodeError, run_function

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


class CodeTests(BaseModel):
    """The answer of a question that asks for code, as JSON: calls of a function, and what each must return."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    function: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    inputs: list[list[Any]] = Field(min_length=1)
    outputs: list[Any]

    @model_validator(mode="after")
    def _one_output_each(self) -> Self:
        if len(self.inputs) != len(self.outputs):
            raise ValueError(f"{len(self.inputs)} inputs but {len(self.outputs)} outputs: give one output for each")
        return self

    @classmethod
    def of(cls, answer: str) -> "CodeTests | None":
        """The tests that a known answer holds; None where it is an answer of another kind."""
        if not answer.startswith("{"):
            return None
        try:
            return cls.model_validate_json(answer)
        except ValidationError:
            return None


def passes(text: str, tests: CodeTests) -> bool:
    """Whether the last fenced block of `text` (else all of it) is a function that passes every test."""
    blocks = _FENCE.findall(text)
    try:
        outcome = run_function((blocks[-1] if blocks else text).strip(), tests.function, [tuple(values) for values in tests.inputs])
    except RefusedCodeError:
        return False
    return list(outcome.results) == [repr(value) for value in json.loads(json.dumps(tests.outputs))]
