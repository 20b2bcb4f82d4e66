"""Instruction reversal: from code that exists, the instruction to which it is the solution (section 2.3 of the paper).

The teacher reads code and writes an instruction; then, shown the instruction alone, it writes the code again. The pair is
kept only when the new code does what the old does on generated inputs: an instruction that lost something is dropped. The
paper leaves its fidelity metric open; ours is that every outcome agrees.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record, derive
from factory.synthesis.answers import InvalidAnswerError, usable_text
from factory.synthesis.formats import instructed_code
from factory.synthesis.functions import SeedFunction, draw_inputs, reference_outcomes
from factory.synthesis.problems import problem_of, program_source
from factory.synthesis.prompts import CODE_FROM_INSTRUCTION, CODE_INSTRUCTION
from factory.synthesis.teacher import Teacher, TeacherAnswer, ask, written_by
from factory.synthesis.validate import RefusedCodeError, run_function, run_program

TRANSFORM = "reversal@1"


@dataclass(frozen=True)
class Original:
    """Code to reverse: the record it stands in, and whether other code does the same (raises `RefusedCodeError`)."""

    parent: Record
    code: str
    agrees: Callable[[str], bool]


def program_original(question: Record) -> Original:
    """One of our programs, from its tracing problem: faithful code prints the same."""
    return Original(question, program_source(problem_of(question)), lambda code: _prints(code) == question["answer"])


def function_original(context: Context, function: SeedFunction, trials: int) -> Original:
    """A function of the standard library: faithful code gives the same value, or fails the same way, on every drawn input."""
    inputs = draw_inputs(function.name, context.random(f"inputs of {function.name}"), trials)
    expected = reference_outcomes(function.name, inputs)
    return Original(function.passage, function.source, lambda code: run_function(code, function.short_name, inputs).results == expected)


def reversals(context: Context, teacher: Teacher, originals: Sequence[Original], max_tokens: int) -> Iterator[Record]:
    """Instruction and code for every original whose instruction suffices to write it again; others are counted drops.

    Records are DOCUMENT with `cluster` `code`, kind `instruction`.
    """
    described = list(_described(context, teacher, originals, max_tokens))
    requests = [CODE_FROM_INSTRUCTION.request({"instruction": said}, max_tokens=max_tokens) for _, said in described]
    for (original, said), request, answer in zip(described, requests, ask(context, teacher, requests), strict=True):
        reason = _fault(original, answer)
        if reason:
            context.drop(f"reversal: {reason}")
            continue
        context.keep()
        context.made("instruction")
        by = f"{written_by(TRANSFORM, teacher, request)} {CODE_INSTRUCTION.id}"
        yield derive(original.parent, text=instructed_code(said, original.code), kind="instruction", created_by=by, cluster="code")


def _described(context: Context, teacher: Teacher, originals: Sequence[Original], max_tokens: int) -> Iterator[tuple[Original, str]]:
    requests = [CODE_INSTRUCTION.request({"code": original.code}, max_tokens=max_tokens) for original in originals]
    for original, answer in zip(originals, ask(context, teacher, requests), strict=True):
        try:
            said = usable_text(answer, "English")
        except InvalidAnswerError as error:
            context.drop(f"reversal: instruction {error}")
            continue
        if original.code in said:
            context.drop("reversal: instruction shows the code")
        else:
            yield original, said


def _fault(original: Original, answer: TeacherAnswer) -> str:
    """Why regenerated code does not confirm its instruction; empty when it does."""
    if not answer.complete or not answer.text.strip():
        return "no code"
    try:
        return "" if original.agrees(without_fence(answer.text)) else "not faithful"
    except RefusedCodeError:
        return "code refused"


def without_fence(text: str) -> str:
    """Code without the Markdown fence that models like to put around it."""
    lines = text.strip().split("\n")
    return "\n".join(lines[1:-1]) if lines[0].startswith("```") and lines[-1] == "```" else "\n".join(lines)


def _prints(code: str) -> str:
    """What a regenerated program prints; code that is not such a program is refused."""
    try:
        return run_program(code)
    except SeedmillError as error:
        raise RefusedCodeError(str(error)) from None
