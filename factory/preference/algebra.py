r"""Are two mathematical expressions the same? `x(x+1)` and `x^2 + x`, `\sqrt{8}` and `2\sqrt{2}`, `\{1, 2\}` and `\{2, 1\}`.

SymPy's own parsers rest on `eval`, and its `simplify` knows no bound of time: neither is for what a model writes. Both sides
are evaluated with mpmath, SymPy's arithmetic, to 60 digits at the same random points. Different expressions of this size agree
at all of them only by a chance that can be left out (Schwartz 1980, Zippel 1979).
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from factory.preference.expressions import Item, UnreadableError, Value, tidy
from factory.preference.forms import read

DIGITS = 60
AGREEMENT = 45
POINTS = 3
UNORDERED = {"{}", "±"}
ALIKE = ({"±", ","}, {"±", "{}"})
"""Labels of collections without an order, and pairs of labels for the same: `\\pm 2` is a list or a set of two."""


def equivalent(given: str, key: str) -> bool:
    """Whether both are readable and the same expression, point, set, interval, list, relation or matrix; False for anything else."""
    if not re.search(r"[0-9+*/^=<>|≤≥±∞\\(\[{-]", key):
        return False  # a word is no product of its letters
    import mpmath

    try:
        left, right = read(given), read(key)
        points = list(_points(_letters(given) | _letters(key), both_signs="|" in tidy(given + key)))
        with mpmath.workdps(DIGITS):
            return left.could_be(right) and _same(left.item, right.item, points)
    except (UnreadableError, ArithmeticError, ValueError, TypeError, RecursionError):
        return False


def _same(left: Item, right: Item, points: Sequence[Mapping[str, Value]]) -> bool:
    if not isinstance(left, tuple) or not isinstance(right, tuple):
        return not isinstance(left, tuple) and not isinstance(right, tuple) and all(_close(left(p), right(p)) for p in points)
    labels = {left[0], right[0]}
    if (len(labels) > 1 and labels not in ALIKE) or len(left[1]) != len(right[1]):
        return False
    if not labels & UNORDERED:
        return all(_same(a, b, points) for a, b in zip(left[1], right[1], strict=True))
    rest = list(right[1])
    for item in left[1]:
        match = next((place for place, other in enumerate(rest) if _same(item, other, points)), None)
        if match is None:
            return False
        rest.pop(match)
    return True


def _close(left: Value, right: Value) -> bool:
    import mpmath

    if mpmath.isinf(left) or mpmath.isinf(right):
        return bool(left == right)
    return bool(abs(left - right) <= mpmath.mpf(10) ** -AGREEMENT * max(1, abs(left), abs(right)))


def _letters(text: str) -> set[str]:
    return set(re.findall(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", text)))


def _points(letters: set[str], *, both_signs: bool) -> Iterator[dict[str, Value]]:
    """Random rational values of all letters, the same ones for the same letters.

    They are positive, so that roots and logarithms exist; where an absolute value is to be told from its argument, negative too.
    """
    import mpmath

    lots = random.Random("".join(sorted(letters)))
    for signs in [(1,)] * POINTS + [(-1,), (1, -1)] * both_signs:
        yield {
            letter: lots.choice(signs) * mpmath.mpf(lots.randrange(10**6, 10**7)) / lots.randrange(10**6, 10**7)
            for letter in sorted(letters)
        }
