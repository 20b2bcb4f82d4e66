r"""Reading a mathematical expression, in LaTeX or plain notation, without ever giving it to `eval`.

Everything is bounded: length, depth, and the size of what is raised to a power. An expression becomes a function of its
letters' values; points, sets, intervals and lists become collections of such functions. `e` and `i` are the numbers, not letters.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

LONGEST = 200
DEEPEST = 24
LARGEST = 10**6
"""Bases and exponents beyond it are refused: towers of powers would fill the memory."""
_TOKEN = re.compile(r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)|(?P<name>\\[a-zA-Z]+|[a-zA-Z]+)|(?P<sign>[-+*/^(){}\[\],|]|\\[{}]))")
_FUNCTIONS = ("sqrt", "sin", "cos", "tan", "log", "ln", "exp", "arcsin", "arccos", "arctan")
_WORDS = ("frac", "pi", "infty")
_CONSTANTS = {"pi": "pi", "e": "e", "i": "j", "infty": "inf"}
"""The constants, with mpmath's names for them."""
_SPACING = re.compile(r"\\(?:left|right|displaystyle|,|;|:|!| )|~|\$")
_SYNONYMS = {
    "−": "-", "×": "*", "·": "*", "÷": "/", "π": "\\pi ", "√": "\\sqrt ", "\\cdot": "*", "\\times": "*", "\\div": "/", "**": "^",
    "∞": "\\infty ", "±": "\\pm ", "∈": "\\in ", "≤": "\\le ", "≥": "\\ge ", "<=": "\\le ", ">=": "\\ge ",
    "\\lvert": "|", "\\rvert": "|", "\\lt ": "<", "\\gt ": ">",
}  # fmt: skip
Value = Any
Node = Callable[[Mapping[str, Value]], Value]
Item = Node | tuple[str, tuple["Item", ...]]


class UnreadableError(ValueError):
    """Not an expression of the kind that is compared here."""


def tidy(text: str) -> str:
    """The text in one notation."""
    for old, new in _SYNONYMS.items():
        text = text.replace(old, new)
    return re.sub(r"\\[dt]frac", r"\\frac", _SPACING.sub(" ", text)).strip()


class Parser:
    """Recursive descent over `tidy` text; each method returns a function of the letters' values."""

    def __init__(self, text: str) -> None:
        self._tokens = list(self._scan(text))
        self._place = self._depth = 0
        self._in_bars = False

    @staticmethod
    def _scan(text: str) -> Iterator[str]:
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise UnreadableError(text[place:])
            place = found.end()
            name = found["name"]
            if name is None or name.removeprefix("\\") in {*_FUNCTIONS, *_WORDS}:
                yield found[0].strip()
            elif name.startswith("\\") or len(name) > 2:
                raise UnreadableError(name)
            else:
                yield from name

    def whole(self) -> Item:
        """The whole text: an expression or a collection."""
        items = self._items("")
        return items[0] if len(items) == 1 else (",", items)

    def _items(self, end: str) -> tuple[Item, ...]:
        items = [self._item()]
        while self._next == ",":
            self._take()
            items.append(self._item())
        if self._next != end:
            raise UnreadableError(self._next)
        return tuple(items)

    def _item(self) -> Item:
        """A collection in brackets where there is a comma inside, else an expression."""
        start = self._place
        closing = {"(": ")]", "[": ")]", "\\{": ["\\}"]}.get(self._next)
        if closing:
            opening = self._take()
            self._deeper()
            items = [self._item()]
            while self._next == ",":
                self._take()
                items.append(self._item())
            self._depth -= 1
            if self._next in closing and self._next and (len(items) > 1 or opening == "\\{"):
                ending = self._take()
                return ("{}" if opening == "\\{" else opening + ending, tuple(items))
            self._place = start
        return self._sum()

    @property
    def _next(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _take(self, wanted: str = "") -> str:
        token = self._next
        if not token or (wanted and token != wanted):
            raise UnreadableError(f"{token!r} in place of {wanted!r}")
        self._place += 1
        return token

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise UnreadableError("nested too deeply")

    def _sum(self) -> Node:
        self._deeper()
        total = self._product()
        while self._next and self._next in "+-":
            total = _binary(self._take(), total, self._product())
        self._depth -= 1
        return total

    def _product(self) -> Node:
        total = self._signed()
        while self._next and (self._next in "*/" or self._starts_a_factor()):
            sign = self._take() if self._next in "*/" else "*"
            total = _binary(sign, total, self._signed())
        return total

    def _starts_a_factor(self) -> bool:
        r"""Whether a factor follows without a sign. `3 4` and `3 \frac12` are no products: one is two numbers, the other mixed."""
        after_a_number = self._tokens[self._place - 1][-1].isdigit()
        if re.match(r"[0-9.]", self._next) or (after_a_number and self._next == "\\frac"):
            raise UnreadableError(self._next)
        return bool(re.match(r"[a-zA-Z({]|\\[a-z]", self._next)) or (self._next == "|" and not self._in_bars)

    def _signed(self) -> Node:
        if self._next and self._next in "+-":
            sign = self._take()
            value = self._signed()
            return value if sign == "+" else lambda at: -value(at)
        return self._power()

    def _power(self) -> Node:
        base = self._atom()
        if self._next != "^":
            return base
        self._take()
        self._deeper()
        exponent = self._signed()
        self._depth -= 1
        return _binary("^", base, exponent)

    def _atom(self) -> Node:
        import mpmath

        word = self._take()
        if word[0].isdigit() or word[0] == ".":
            return lambda _: mpmath.mpf(word)
        name = word.removeprefix("\\")
        if name == "frac":
            upper, lower = self._argument(), self._argument()
            return _binary("/", upper, lower)
        if name in _FUNCTIONS:
            return self._function(name)
        if word in {"(", "{", "|"}:
            return self._group(word)
        return _value(word, name)

    def _group(self, opening: str) -> Node:
        """What stands in brackets, in braces, or between bars: then its absolute value. Bars within bars are refused."""
        if opening != "|":
            inner = self._sum()
            self._take({"(": ")", "{": "}"}[opening])
            return inner
        if self._in_bars:
            raise UnreadableError("bars within bars")
        self._in_bars = True
        inner = self._sum()
        self._take("|")
        self._in_bars = False
        return lambda at: abs(inner(at))

    def _argument(self) -> Node:
        r"""A group in braces, or the next digit or letter alone: `\frac12`."""
        if len(self._next) > 1 and self._next[0].isdigit():
            digit, self._tokens[self._place] = self._next[0], self._next[1:]
            return _constant(digit)
        return self._atom()

    def _function(self, name: str) -> Node:
        import mpmath

        if name == "sqrt":
            degree = self._degree()
            radicand = self._argument()
            return lambda at: mpmath.root(radicand(at), int(_bounded(degree(at))))
        exponent = _constant("1")
        if self._next == "^":
            self._take()
            exponent = self._argument()
        functions = {"ln": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan"}
        call, argument = getattr(mpmath, functions.get(name, name)), self._operand()
        return lambda at: call(_bounded(argument(at))) ** exponent(at)

    def _degree(self) -> Node:
        if self._next != "[":
            return _constant("2")
        self._take()
        degree = self._sum()
        self._take("]")
        return degree

    def _operand(self) -> Node:
        r"""What a function is applied to: a group, else all factors that follow without a sign (`\sin 2x`)."""
        if self._next in {"(", "{"}:
            return self._atom()
        product = self._power()
        while self._starts_a_factor() and self._next.removeprefix("\\") not in _FUNCTIONS:
            product = _binary("*", product, self._power())
        return product


def _value(word: str, name: str) -> Node:
    """A constant or a letter."""
    import mpmath

    if name in _CONSTANTS:
        return lambda _: +getattr(mpmath, _CONSTANTS[name])
    if word.isalpha() and len(word) == 1:
        return lambda at: at[word]
    raise UnreadableError(word)


def _constant(digit: str) -> Node:
    import mpmath

    return lambda _: mpmath.mpf(digit)


def _binary(sign: str, left: Node, right: Node) -> Node:
    operations: dict[str, Callable[[Value, Value], Value]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "^": lambda a, b: _bounded(a) ** _bounded(b),
    }
    return lambda at: operations[sign](left(at), right(at))


def _bounded(value: Value) -> Value:
    if abs(value) > LARGEST:
        raise UnreadableError("too large")
    return value
