r"""Written numbers and quantities as exact fractions: `1,200`, `1{,}200`, `3 1/2`, `\frac{3}{4}`, `50\%`, `2 \times 10^{3}`, `1.5 km`.

Exact, because a tolerance would turn a near miss into a success. What is not wholly a number, or a number and a known unit, is
none: `8 or 9` is not 8.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from unicodedata import normalize

LONGEST = 60
_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<whole>[0-9]+) (?P<over>[0-9]+)/(?P<under>[0-9]+)"
    rf"|(?P<numerator>{_DECIMAL})(?:[eE](?P<e>[+-]?[0-9]{{1,2}})|[*x]10\^(?P<power>[+-]?[0-9]{{1,2}}))?(?:/(?P<denominator>{_DECIMAL}))?)"
    r"(?P<unit>.*)"
)
_FRACTION = re.compile(r"\\[dt]?frac *(?:\{([^{}]+)\} *\{([^{}]+)\}|([0-9]) *([0-9]))")
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_UNITS = """
length: mm=1/1000 millimeter millimetre; cm=1/100 centimeter centimetre; m=1 meter metre; km=1000 kilometer kilometre
length: in=127/5000 inch inches; ft=381/1250 foot feet; yd=1143/1250 yard; mi=201168/125 mile
mass: mg=1/1000000 milligram; g=1/1000 gram; kg=1 kilogram; t=1000 ton tonne
mass: oz=45359237/1600000000 ounce; lb=45359237/100000000 pound lbs
time: ms=1/1000 millisecond; s=1 sec second; min=60 minute mins; h=3600 hr hour hrs; d=86400 day; week=604800 weeks
volume: ml=1/1000 milliliter millilitre; l=1 L liter litre
money-dollar: ¢=1/100 cent; $=1 dollar USD
money-euro: €=1 euro EUR
angle: °=1 degree deg ^\\circ ^{\\circ}
"""


def _table() -> dict[str, tuple[str, Fraction]]:
    """Each name of a unit, plural included, with its dimension and size."""
    found: dict[str, tuple[str, Fraction]] = {"%": ("", Fraction(1, 100)), "percent": ("", Fraction(1, 100))}
    for line in _UNITS.strip().splitlines():
        dimension, entries = line.split(": ")
        for entry in entries.split("; "):
            symbol, rest = entry.split("=")
            size, *names = rest.split()
            for name in (symbol, *names, *(f"{name}s" for name in names)):
                found[name] = (dimension, Fraction(size))
    return found


UNITS = _table()


@dataclass(frozen=True)
class Quantity:
    """A value as it is written, and its unit: "" for none."""

    value: Fraction
    unit: str = ""

    def equals(self, other: "Quantity") -> bool:
        """Equal in size. An unstated unit is the other one's: whoever is asked for metres may answer 5; 50 stands for 50 %, as 0.5 does."""
        if self.value == other.value and (self.unit == other.unit or not (self.unit and other.unit)):
            return True
        (mine, size), (theirs, other_size) = self._scale(), other._scale()
        return mine == theirs and self.value * size == other.value * other_size

    def _scale(self) -> tuple[str, Fraction]:
        return UNITS[self.unit] if self.unit else ("", Fraction(1))


def quantity(text: str) -> Quantity | None:
    """A number with a known unit or with none; None for anything else."""
    return _read(text) if len(text) <= 2 * LONGEST else None


@lru_cache(maxsize=4096)  # samples of a question state the same few answers again and again
def _read(text: str) -> Quantity | None:
    plain = _spelt(text)
    found = _NUMBER.fullmatch(plain) if len(plain) <= LONGEST else None
    if found is None or (found["unit"].strip() and found["unit"].strip() not in UNITS):
        return None
    value = _value(found)
    return None if value is None else Quantity(value, found["unit"].strip())


def number(text: str) -> Fraction | None:
    """The exact value of a written number, a percentage as its share; None for anything else, other units included."""
    found = quantity(text)
    if found is None or UNITS.get(found.unit, ("", 1))[0]:
        return None
    return found.value * (UNITS[found.unit][1] if found.unit else 1)


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
