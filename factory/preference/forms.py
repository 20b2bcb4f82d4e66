r"""The forms of a mathematical answer around its expressions: `x = 5`, `x > 3`, `\pm 2`, `x \in [0, 1]`, a matrix.

Each is taken apart here, as text; `factory.preference.expressions` reads the parts. A form becomes an item: a function of the
letters' values, or a collection with a label that says how its members are compared.
"""

import re
from dataclasses import dataclass

from factory.preference.expressions import LONGEST, Item, Parser, UnreadableError, tidy

_NAMED = re.compile(r"([a-zA-Z](?:\([a-zA-Z]\))?) *(?:=|∈|\\in(?![a-zA-Z])) *(.+)", re.DOTALL)
_RELATION = re.compile(r"(<|>|\\[lg]e(?:q|qslant)?(?![a-z]))")
_MATRIX = re.compile(r"\\begin *\{([pb])matrix\}(.*)\\end *\{\1matrix\}", re.DOTALL)
_EITHER = re.compile(r"\\(?:pm|mp)(?![a-z])")
_TURNED = {">": "<", "\\ge": "\\le"}
_ARITHMETIC = re.compile(r"[-+*/^(){}0-9. ]+")
_OPERATION = re.compile(r"[0-9)}] *[-+*(]")


@dataclass(frozen=True)
class Form:
    """An answer taken apart: what it is said to be the value of (`x`; "" where nothing is), and the value."""

    name: str
    item: Item

    def could_be(self, other: "Form") -> bool:
        """Whether both speak of the same thing: `5` may be any `x`, but `y = 5` is no `x = 5`."""
        return self.name == other.name or not (self.name and other.name)


def read(text: str) -> Form:
    """The form of an answer. Raises `UnreadableError`."""
    if len(text) > LONGEST:
        raise UnreadableError(f"{len(text)} characters")
    named = _NAMED.fullmatch(text)
    return Form(named[1], _item(named[2])) if named else Form("", _item(text))


def unfinished(text: str) -> list[str] | None:
    r"""The numerals of a calculation that is not carried out (`10-5`, `2 \cdot 3`), sorted; None for any other answer.

    Such an answer stands for itself: it may be a score, a range or a factorisation, and `5+3` only repeats a question.
    """
    plain = tidy(text).replace("\\frac", "")
    if _ARITHMETIC.fullmatch(plain) and _OPERATION.search(plain):
        return sorted(re.findall(r"[0-9.]+", plain))
    return None


def _item(text: str) -> Item:
    matrix = _MATRIX.fullmatch(text.strip())
    if matrix:  # before anything else: what parts its rows looks like a space
        return ("matrix", tuple(_row(row) for row in matrix[2].strip().removesuffix("\\\\").split("\\\\")))
    text = tidy(text)
    sides = _RELATION.split(text)
    if len(sides) > 1:
        return _relation(sides[::2], sides[1::2])
    if len(_EITHER.findall(text)) == 1:
        return ("±", tuple(Parser(_EITHER.sub(sign, text)).whole() for sign in "+-"))
    return Parser(text).whole()


def _row(text: str) -> Item:
    return ("row", tuple(Parser(tidy(cell)).whole() for cell in text.split("&")))


def _relation(sides: list[str], signs: list[str]) -> Item:
    r"""A chain such as `0 < x \le 3`, turned so that the smaller stands first."""
    signs = [sign[:3] for sign in signs]
    if all(sign in _TURNED for sign in signs):
        sides, signs = sides[::-1], [_TURNED[sign] for sign in reversed(signs)]
    if any(sign in _TURNED for sign in signs):
        raise UnreadableError("a chain that turns")
    return (" ".join(signs), tuple(Parser(side.strip()).whole() for side in sides))
