r"""Written numbers and quantities as exact fractions: `1,200`, `3 1/2`, `\frac{3}{4}`, `50\%`, `2 \times 10^{3}`, `1.5 km`, `1 h 30 min`.

Exact, because a tolerance would turn a near miss into a success. What is not wholly a number, or a number and a known unit, is
none: `8 or 9` is not 8.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from unicodedata import normalize

from factory.preference import units

LONGEST = 60
_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<whole>[0-9]+) (?P<over>[0-9]+)/(?P<under>[0-9]+)"
    rf"|(?P<numerator>{_DECIMAL})(?:[eE](?P<e>[+-]?[0-9]{{1,2}})|[*x]10\^(?P<power>[+-]?[0-9]{{1,2}}))?(?:/(?P<denominator>{_DECIMAL}))?)"
    r"(?P<unit>.*)"
)
_FRACTION = re.compile(r"\\[dt]?frac *(?:\{([^{}]+)\} *\{([^{}]+)\}|([0-9]) *([0-9]))")
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_PART = re.compile(rf"({_DECIMAL}) ?([^\W\d_]+|['\"′″]),?(?: and)? ?")
_FEET_AND_INCHES = {"'": "ft", "′": "ft", '"': "in", "″": "in"}


@dataclass(frozen=True)
class Quantity:
    """A value as it is written, and its unit: "" for none."""

    value: Fraction
    unit: str = ""

    def equals(self, other: "Quantity") -> bool:
        """Equal in size. An unstated unit is the other one's: whoever is asked for metres may answer 5; 50 stands for 50 %, as 0.5 does."""
        if not (self.unit or other.unit):
            return self.value == other.value
        if self.value == other.value and not (self.unit and other.unit):
            return True
        mine, theirs = units.unit(self.unit) or units.NONE, units.unit(other.unit) or units.NONE
        return mine.dimension == theirs.dimension and mine.measure(self.value) == theirs.measure(other.value)


def quantity(text: str) -> Quantity | None:
    """A number with a known unit or with none; None for anything else."""
    return _read(text) if len(text) <= 2 * LONGEST else None


@lru_cache(maxsize=4096)  # samples of a question state the same few answers again and again
def _read(text: str) -> Quantity | None:
    plain = _spelt(text)
    found = _NUMBER.fullmatch(plain) if len(plain) <= LONGEST else None
    if found is None or units.unit(found["unit"].strip()) is None:
        return _sum_of_parts(plain)
    value = _value(found)
    return None if value is None else Quantity(value, found["unit"].strip())


def _sum_of_parts(text: str) -> Quantity | None:
    """`1 h 30 min` as one and a half `h`: parts of one dimension, from the larger unit to the smaller."""
    parts = list(_PART.finditer(text))
    names = [_FEET_AND_INCHES.get(part[2], part[2]) for part in parts]
    known = [found for found in map(units.unit, names) if found is not None]
    if len(parts) < 2 or "".join(part[0] for part in parts) != text or len(known) < len(parts):
        return None
    if len({one.dimension for one in known}) > 1 or any(one.size <= other.size or one.zero for one, other in pairwise(known)):
        return None
    sizes = [Fraction(part[1].replace(",", "")) * one.size for part, one in zip(parts, known, strict=True)]
    return Quantity(sum(sizes, Fraction(0)) / known[0].size, names[0])


def number(text: str) -> Fraction | None:
    """The exact value of a written number, a percentage as its share; None for anything else, other units included."""
    found = quantity(text)
    unit = units.unit(found.unit) if found else None
    if found is None or unit is None or unit.dimension:
        return None
    return unit.measure(found.value)


def _value(found: re.Match[str]) -> Fraction | None:
    sign = -1 if found["sign"] == "-" else 1
    if found["whole"]:
        under = int(found["under"])
        return sign * (int(found["whole"]) + Fraction(int(found["over"]), under)) if under else None
    numerator, denominator = (Fraction((found[name] or "1").replace(",", "")) for name in ("numerator", "denominator"))
    power = int(found["e"] or found["power"] or 0)
    return sign * numerator * Fraction(10) ** power / denominator if denominator else None


def _spelt(text: str) -> str:
    """One way of writing: no LaTeX spacing, plain fractions, the sign before and the unit (also a leading currency) behind."""
    plain = text.replace("−", "-").replace("\\left", "").replace("\\right", "").replace("{,}", ",").replace("\\%", "%")
    plain = re.sub(r"\\[,;:! ]|~|\\(?:text|mathrm|mbox) *\{([^{}]*)\}", lambda match: f" {match[1] or ''}", plain)
    plain = "".join(f" {normalize('NFKC', c).replace('⁄', '/')}" if c in _VULGAR else c for c in plain)
    plain = re.sub(r" *(?:\\times|\\cdot|[×*x]) *10 *\^ *\{?([+-]?[0-9]+)\}?", r"*10^\1", plain)
    plain = _FRACTION.sub(lambda match: f" {match[1] or match[3]}/{match[2] or match[4]}", plain)
    plain = re.sub(r" ?([-+/]) ?", r"\1", " ".join(plain.replace("\\$", "$").split()))
    sign, currency, rest = re.fullmatch(r"([+-]?)([$€]?) ?(.*)", plain, re.DOTALL).groups()  # type: ignore[union-attr]
    rest = rest.removeprefix("-") if currency and rest.startswith("-") and not sign else rest
    sign = "-" if currency and not sign and plain.startswith(f"{currency}-") else sign
    return f"{sign}{rest}{currency}"
