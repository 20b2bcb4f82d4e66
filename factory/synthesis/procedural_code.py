"""How the procedural teacher describes code and writes it again.

A program of ours is put into words line by line and compiled back from the words alone. A function is described by its
signature and the first paragraph of its docstring, and written again from what this module knows by heart: a few
functions as a programmer might write them from the description. Not all are right; telling is the fidelity check's work.
"""

import ast
import random
import re

_LINE = re.compile(r"(?P<target>[xy]) = (?P<left>[xy]) (?P<sign>[+*-]) (?P<right>[xy]|\d+)")
_SET = re.compile(r"([xy]) = (\d+)")
_PRINT = re.compile(r"print\(([xy])\)")
_OPENINGS = (
    "Write a Python program that does the following",
    "Write Python code that does this",
    "Give a short Python program for these steps",
)
_WORDS: dict[str, tuple[str, ...]] = {
    "set": ("set {0} to {1}", "let {0} be {1}"),
    "+": ("add {1} to {0}", "increase {0} by {1}"),
    "-": ("subtract {1} from {0}", "decrease {0} by {1}"),
    "*": ("multiply {0} by {1}",),
    "sum": ("make {0} the sum of x and y",),
    "difference": ("make {0} the difference x minus y",),
    "print": ("print {0}", "show the value of {0}"),
}
_CODE = {
    "set": "{0} = {1}",
    "+": "{0} = {0} + {1}",
    "-": "{0} = {0} - {1}",
    "*": "{0} = {0} * {1}",
    "sum": "{0} = x + y",
    "difference": "{0} = x - y",
    "print": "print({0})",
}
KNOWN_FUNCTIONS = {
    "bisect_left": "def bisect_left(a, x):\n    for i in range(len(a)):\n        if a[i] >= x:\n            return i\n    return len(a)",
    "bisect_right": "def bisect_right(a, x):\n    for i in range(len(a)):\n        if a[i] > x:\n            return i\n    return len(a)",
    "isleap": "def isleap(year):\n    return year % 4 == 0 and year % 100 != 0 or year % 400 == 0",
    "leapdays": (
        "def leapdays(y1, y2):\n    count = 0\n    for year in range(y1, y2):\n"
        "        if year % 4 == 0 and year % 100 != 0 or year % 400 == 0:\n            count += 1\n    return count"
    ),
    "commonprefix": (
        "def commonprefix(m):\n    if not m:\n        return ''\n    prefix = m[0]\n    for word in m:\n"
        "        while not word.startswith(prefix):\n            prefix = prefix[:-1]\n    return prefix"
    ),
    "escape": "def escape(s, quote=True):\n    return s.replace('<', '&lt;').replace('>', '&gt;').replace('&', '&amp;')",
    "countOf": "def countOf(a, b):\n    return sum(1 for item in a if item == b)",
    "indexOf": "def indexOf(a, b):\n    for i in range(len(a)):\n        if a[i] == b:\n            return i\n    raise ValueError(b)",
    "basename": "def basename(p):\n    return p.split('/')[-1]",
    "dirname": "def dirname(p):\n    return '/'.join(p.split('/')[:-1])",
    "isabs": "def isabs(s):\n    return s[:1] == '/'",
    "quote": 'def quote(s):\n    return "\'" + s + "\'"',
    "median_high": "def median_high(data):\n    return sorted(data)[len(data) // 2]",
    "median_low": "def median_low(data):\n    return sorted(data)[(len(data) - 1) // 2]",
    "capwords": "def capwords(s):\n    return ' '.join([word.capitalize() for word in s.split()])",
    "indent": "def indent(text, prefix):\n    return '\\n'.join([prefix + line for line in text.split('\\n')])",
}


def code_instruction(code: str, random: random.Random) -> str:
    """The instruction to which `code` is the solution; empty where this program cannot put it into words."""
    return _describe_function(code) if code.startswith("def ") else _describe_program(code, random)


def code_from_instruction(instruction: str) -> str:
    """Code for an instruction of the kind that `code_instruction` gives; empty for any other."""
    named = re.match(r"Write a Python function `(\w+)\(", instruction)
    return KNOWN_FUNCTIONS.get(named[1], "") if named else _compile_program(instruction)


def _describe_function(code: str) -> str:
    function = ast.parse(code).body[0]
    documentation = ast.get_docstring(function) if isinstance(function, ast.FunctionDef) else None
    if not isinstance(function, ast.FunctionDef) or not documentation:
        return ""
    paragraphs = [" ".join(part.split()) for part in documentation.split("\n\n")]
    # A first paragraph that only repeats the signature says nothing.
    said = next((part for part in paragraphs if not part.startswith(f"{function.name}(")), "")
    return f"Write a Python function `{function.name}({ast.unparse(function.args)})`. {said}" if said else ""


def _describe_program(code: str, random: random.Random) -> str:
    steps = [_step(line) for line in code.split("\n")]
    if None in steps:
        return ""
    said = [random.choice(_WORDS[step[0]]).format(*step[1]) for step in steps if step]
    return f"{random.choice(_OPENINGS)}: {'; '.join(said)}."


def _step(line: str) -> tuple[str, tuple[str, ...]] | None:
    """What a line does and to what; None for a line that is not of our programs."""
    if match := _SET.fullmatch(line):
        return "set", (match[1], match[2])
    if match := _PRINT.fullmatch(line):
        return "print", (match[1],)
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    if match["right"].isdigit():
        return (match["sign"], (match["target"], match["right"])) if match["left"] == match["target"] else None
    if (match["left"], match["right"]) != ("x", "y"):
        return None
    return {"+": "sum", "-": "difference"}[match["sign"]], (match["target"],)


def _compile_program(instruction: str) -> str:
    _, _, said = instruction.partition(": ")
    lines = [_line(part) for part in said.removesuffix(".").split("; ")]
    return "" if "" in lines else "\n".join(lines)


def _line(said: str) -> str:
    for what, ways in _WORDS.items():
        for way in ways:
            pattern = re.escape(way).replace(r"\{0\}", "(?P<a>[xy])").replace(r"\{1\}", r"(?P<b>\d+)")
            if match := re.fullmatch(pattern, said):
                return _CODE[what].format(*match.groupdict()["a"], match.groupdict().get("b", ""))
    return ""
