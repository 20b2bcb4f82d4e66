"""What may be executed, and how. Everything else is refused before it runs.

Three kinds of code reach an interpreter, each behind its own gate:

- *our own programs* (the tracing problems): straight-line assignments of +, -, * on small constants and names, and one
  `print`. Checked node by node, then run in this process with no builtins; such code cannot loop, call or grow.
- *functions of the standard library* on the allow-list of `factory.synthesis.functions`: pure, real, imported by name.
- *code a teacher wrote*: one function within a small subset of Python (no import, no attribute beyond named methods of str
  and list, no dunder, no power or shift, no f-string, no class, lambda, decorator or nested function), then run in a
  process of its own with hard limits on time, memory, processes, files and file size, behind the walls of
  `factory.synthesis.sandbox`. What a *model* submits as a solution
  runs in the same process, after the wider check of `factory.preference.submitted_code`.

Seed documents are text: code found in them is never executed.
"""

import ast
import json
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import SeedmillError
from factory.synthesis import sandbox

LARGEST_CONSTANT = 1000
MOST_STATEMENTS = 64
LONGEST_FUNCTION = 4000
SECONDS = 2
_WORKER = Path(__file__).with_name("function_worker.py")

_PROGRAM_NODES = (
    *(ast.Module, ast.Assign, ast.Expr, ast.Call, ast.Name, ast.Load, ast.Store),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Constant),
)
_FUNCTION_NODES = (
    *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.Expr, ast.Raise, ast.Pass),
    *(ast.For, ast.While, ast.If, ast.Break, ast.Continue, ast.IfExp, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Store),
    *(ast.Attribute, ast.Subscript, ast.Slice, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set),
    *(ast.ListComp, ast.GeneratorExp, ast.comprehension, ast.Starred),
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot),
)
_BUILTINS = """
    abs all any bool dict enumerate float int len list max min range reversed round set sorted str sum tuple zip
    IndexError TypeError ValueError
"""
_METHODS = """
    append capitalize count endswith extend find get index insert isalnum isalpha isdigit isspace items join keys lower lstrip
    partition pop replace reverse rfind rpartition rstrip sort split splitlines startswith strip title upper values
"""
BUILTINS = frozenset(_BUILTINS.split())
METHODS = frozenset(_METHODS.split())


class RefusedCodeError(ValueError):
    """Code outside what may run; the message names the part."""


def run_program(source: str) -> str:
    """What one of our own straight-line programs prints, without the line end.

    Raises `SeedmillError` on anything but such a program: a recipe cannot cause that, only a wrong generator can.
    """
    try:
        tree = ast.parse(source)
        check_program(tree)
    except (SyntaxError, RefusedCodeError) as error:
        raise SeedmillError(f"refused to run a program that is not one of ours ({error}):\n{source}") from None
    printed: list[str] = []
    names: dict[str, Any] = {"__builtins__": {}, "print": lambda value: printed.append(str(value))}
    exec(compile(tree, "<problem>", "exec"), names)  # noqa: S102 - every node was checked above, and there are no builtins
    return "\n".join(printed)


def check_program(tree: ast.Module) -> None:
    """Raise `RefusedCodeError` unless the tree is a straight-line program as the module's docstring describes."""
    if len(tree.body) > MOST_STATEMENTS:
        raise RefusedCodeError(f"{len(tree.body)} statements, at most {MOST_STATEMENTS}")
    for node in ast.walk(tree):
        if not isinstance(node, _PROGRAM_NODES):
            raise RefusedCodeError(type(node).__name__)
        if isinstance(node, ast.Constant) and not _small(node.value):
            raise RefusedCodeError(f"constant {node.value!r}")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and not isinstance(node.right, ast.Constant):
            raise RefusedCodeError("a product without a constant factor")
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id == "print" and not node.keywords):
            raise RefusedCodeError("a call of something other than print")
        if isinstance(node, ast.Assign) and not all(isinstance(target, ast.Name) and target.id in "xyz" for target in node.targets):
            raise RefusedCodeError("an assignment to something other than x, y or z")


def _small(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_CONSTANT


def check_function(source: str, name: str) -> None:
    """Raise `RefusedCodeError` unless the source is one function called `name` within the subset for a teacher's code."""
    if len(source) > LONGEST_FUNCTION:
        raise RefusedCodeError(f"{len(source)} characters, at most {LONGEST_FUNCTION}")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RefusedCodeError(f"not Python: {error}") from None
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef) or tree.body[0].name != name:
        raise RefusedCodeError(f"not one function called {name}")
    function = tree.body[0]
    known = BUILTINS | {name} | {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    known |= {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
    for node in ast.walk(function):
        _check_node(node, known, function)


def _check_node(node: ast.AST, known: frozenset[str] | set[str], function: ast.FunctionDef) -> None:
    if not isinstance(node, _FUNCTION_NODES):
        raise RefusedCodeError(type(node).__name__)
    if isinstance(node, ast.FunctionDef) and (node is not function or node.decorator_list):
        raise RefusedCodeError("a nested or decorated function")
    if isinstance(node, ast.Attribute) and node.attr not in METHODS:
        raise RefusedCodeError(f"attribute {node.attr}")
    if isinstance(node, ast.Name) and (node.id not in known or node.id.startswith("_")):
        raise RefusedCodeError(f"name {node.id}")
    if isinstance(node, ast.arg) and node.arg.startswith("_"):
        raise RefusedCodeError(f"argument {node.arg}")


@dataclass(frozen=True)
class Outcome:
    """What calls gave: for each input the repr of the value or `raises NAME`; `error` when the process did not survive."""

    results: tuple[str, ...]
    error: str = ""


def run_function(source: str, name: str, inputs: list[tuple[Any, ...]]) -> Outcome:
    """Call a teacher's function on `inputs` (JSON values) in a limited process. Refused code raises `RefusedCodeError` instead."""
    check_function(source, name)
    return run_checked(source, name, inputs, BUILTINS)


def run_checked(
    source: str,
    name: str,
    inputs: Sequence[Sequence[Any]],
    builtins: Collection[str],
    modules: Mapping[str, Collection[str]] | None = None,
) -> Outcome:
    """Call a function of source that was *checked*, with these builtins and these names of modules and no others, in a limited process.

    Each input is the arguments of a call: JSON values, or a Python tuple as text.
    """
    offered = {module: sorted(names) for module, names in (modules or {}).items()}
    job = json.dumps(
        {"source": source, "name": name, "inputs": inputs, "builtins": sorted(builtins), "modules": offered, "seconds": SECONDS}
    )
    try:
        done = subprocess.run(
            sandbox.command(_WORKER), input=job, env=sandbox.ENVIRONMENT, capture_output=True, text=True, timeout=3 * SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome((), f"took more than {3 * SECONDS} s")
    if done.returncode:
        return Outcome((), f"exit status {done.returncode}")
    return Outcome(tuple(json.loads(done.stdout)))
