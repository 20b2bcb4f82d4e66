r"""Units of measurement: names of a table, and what is made of them: `km/h`, `m^2`, `square feet`, `cm³`, `dollars per hour`.

A unit is a dimension (powers of what is measured) and an exact size in it. No library: a table of the units that answers state is
shorter than what would have to be shut off of one (see docs/decisions.md).
"""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

LONGEST = 40
_TABLE = """
length: mm=1/1000 millimeter millimetre; cm=1/100 centimeter centimetre; m=1 meter metre; km=1000 kilometer kilometre
length: in=127/5000 inch inches; ft=381/1250 foot feet; yd=1143/1250 yard; mi=201168/125 mile
length*2: ha=10000 hectare; acre=316160658/78125
length*3: ml=1/1000000 mL milliliter millilitre; cl=1/100000 cL centiliter centilitre; l=1/1000 L liter litre
mass: mg=1/1000000 milligram; g=1/1000 gram; kg=1 kilogram; t=1000 ton tonne
mass: oz=45359237/1600000000 ounce; lb=45359237/100000000 pound lbs
time: ms=1/1000 millisecond; s=1 sec second; min=60 minute mins; h=3600 hr hour hrs; d=86400 day; week=604800 weeks
money-dollar: ¢=1/100 cent; $=1 dollar USD
money-euro: €=1 euro EUR
angle: °=1 degree deg ^\\circ ^{\\circ}
: %=1/100 percent
"""
_TEMPERATURES = {"°C": (Fraction(1), "273.15"), "°F": (Fraction(5, 9), "45967/180"), "kelvin": (Fraction(1), "0")}
_TEMPERATURE_NAMES = {"celsius": "°C", "fahrenheit": "°F", "°c": "°C", "°f": "°F", "c": "°C", "f": "°F"}
_WRITTEN_OUT = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h"}
_FACTOR = re.compile(r"(?P<name>[^\W\d_]+|[$€¢°%])\.?(?:\^?(?P<power>[23]))?")
_VARIABLES = frozenset({"d", "h", "s", "t"})
"""What is a variable rather than a unit before a fraction stroke: `5 d/t` is no number of days."""


@dataclass(frozen=True)
class Unit:
    """Powers of dimensions, sorted; the size of one unit; and where its zero lies, for temperatures. Sizes are exact."""

    dimension: tuple[tuple[str, int], ...]
    size: Fraction
    zero: Fraction = Fraction(0)

    def measure(self, value: Fraction) -> Fraction:
        """So many of this unit, in the dimension's own."""
        return value * self.size + self.zero


NONE = Unit((), Fraction(1))


def _table() -> dict[str, Unit]:
    """Each name of a unit, plural included."""
    found: dict[str, Unit] = {}
    for line in _TABLE.strip().splitlines():
        measured, entries = line.split(": ", 1) if not line.startswith(":") else ("", line[2:])
        dimension, _, power = measured.partition("*")
        for entry in entries.split("; "):
            symbol, rest = entry.split("=")
            size, *names = rest.split()
            unit = Unit(((dimension, int(power or 1)),) if dimension else (), Fraction(size))
            found |= dict.fromkeys((symbol, *names, *(f"{name}s" for name in names)), unit)
    temperature = (("temperature", 1),)
    return found | {name: Unit(temperature, size, Fraction(zero)) for name, (size, zero) in _TEMPERATURES.items()}


UNITS = _table()


@lru_cache(maxsize=4096)
def unit(text: str) -> Unit | None:
    """The unit that a text names, or `NONE` for an empty one; None for what is no unit."""
    if not text or len(text) > LONGEST:
        return None if text else NONE
    return UNITS.get(text) or _temperature(text) or _compound(text)


def _temperature(text: str) -> Unit | None:
    r"""`degrees Celsius`, `deg F`, `^\circ C`."""
    found = re.fullmatch(r"(°|\^\\circ|\^\{\\circ\}|deg(?:ree)?s?)? ?([a-zA-Z]+)", text)
    name = _TEMPERATURE_NAMES.get(found[2].casefold()) if found else None
    if found is None or name is None or (len(found[2]) == 1 and not found[1]):
        return None
    return UNITS[name]


def _compound(text: str) -> Unit | None:
    """One unit, or one by another, each with a power that is measured: areas, volumes, speeds, densities, prices."""
    text = text.replace("²", "^2").replace("³", "^3").replace("{", "").replace("}", "")
    text = re.sub(r"\b(?:square|sq\.?) (\w+)|\b(\w+) squared\b", lambda m: f"{m[1] or m[2]}^2", text)
    text = re.sub(r"\b(?:cubic|cu\.?) (\w+)|\b(\w+) cubed\b", lambda m: f"{m[1] or m[2]}^3", text)
    upper, stroke, lower = re.sub(r" per ", "/", _WRITTEN_OUT.get(text, text)).partition("/")
    above = _factor(upper, "length")
    if not stroke:
        return above
    below = _factor(lower, "length", "time")
    if above is None or below is None or upper in _VARIABLES:
        return None
    powers = Counter(dict(above.dimension))
    powers.subtract(dict(below.dimension))
    return Unit(tuple(sorted((name, power) for name, power in powers.items() if power)), above.size / below.size)


def _factor(text: str, *raised: str) -> Unit | None:
    """A unit of the table, raised to a power where it measures one of `raised`: `5t^2` is no number of square tonnes."""
    found = _FACTOR.fullmatch(text)
    base = UNITS.get(found["name"]) if found else None
    if found is None or base is None or base.zero:
        return None
    power = int(found["power"] or 1)
    if power > 1 and base.dimension not in {((name, 1),) for name in raised}:
        return None
    return Unit(tuple((name, own * power) for name, own in base.dimension), base.size**power)
