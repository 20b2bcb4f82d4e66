from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.preference.quantities import Quantity, number, quantity
from factory.preference.units import UNITS


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("1,200", Fraction(1200), ""),
        ("1{,}200.5", Fraction(2401, 2), ""),
        ("3 1/2", Fraction(7, 2), ""),
        (r"-2\frac{1}{2}", Fraction(-5, 2), ""),
        (r"\frac34", Fraction(3, 4), ""),
        ("3½", Fraction(7, 2), ""),
        (r"50\%", Fraction(50), "%"),
        (r"2 \times 10^{3}", Fraction(2000), ""),
        ("2*10^-3", Fraction(1, 500), ""),
        (r"5\text{ cm}", Fraction(5), "cm"),
        (r"90^\circ", Fraction(90), r"^\circ"),
        ("-$5", Fraction(-5), "$"),
        ("$-5", Fraction(-5), "$"),
        (r"\$1,200.50", Fraction(2401, 2), "$"),
        ("− 3", Fraction(-3), ""),
    ],
)
def test_written_quantities_are_read_exactly(text: str, value: Fraction, unit: str) -> None:
    assert quantity(text) == Quantity(value, unit)


@pytest.mark.parametrize(
    "text",
    [
        "8 or 9",
        "8 apples",
        "3 4",
        "1 200",
        "1,20",
        "1.2.3",
        "--5",
        "3/0",
        "1 2/0",
        "5 million",
        "5 m/q",
        "5 d/t",
        "5t^2",
        "5 m/s/s",
        "5 m 6",
        "30 min 1 h",
        "1 h 2 kg",
        "x",
        "",
        "9" * 99,
        "1e999",
    ],
)
def test_what_is_not_wholly_a_quantity_is_none(text: str) -> None:
    assert quantity(text) is None


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1.5 km", "1500 m", True),
        ("12 inches", "1 foot", True),
        ("3 hours", "180 min", True),
        ("5 dollars", "500 cents", True),
        ("5 km", "5", True),
        ("50%", "0.5", True),
        ("50%", "50", True),
        ("5 km", "5 kg", False),
        ("5 km", "5 m", False),
        ("$5", "€5", False),
        ("50%", "5", False),
        ("1500 m", "1.5", False),
        ("36 km/h", "10 m/s", True),
        ("36 kilometers per hour", r"10\ \text{m}/\text{s}", True),
        ("60 mph", "88 ft/s", True),
        ("9.8 m/s^2", "980 cm/s²", True),
        ("1 g/cm^3", "1 kg/l", True),
        ("3 dollars per hour", "5 cents/min", True),
        ("2 m^2", "20000 cm^{2}", True),
        (r"2\text{ m}^2", "2 square metres", True),
        ("1 sq. yd", "9 square feet", True),
        ("1 m³", "1000 l", True),
        ("1 cubic inch", "1/1728 ft^3", True),
        ("1 ha", "10000 m^2", True),
        ("20 °C", "68°F", True),
        (r"100^\circ C", "373.15 kelvin", True),
        ("20 degrees Celsius", "20 deg C", True),
        ("1 h 30 min", "90 minutes", True),
        ("5 feet 6 inches", "66 in", True),
        ("5'6\"", "5.5 ft", True),
        ("1 hour and 30 minutes", "1.5 h", True),
        ("2 lb, 8 oz", "2.5 pounds", True),
        ("36 km/h", "36 m/s", False),
        ("2 m^2", "2 m", False),
        ("2 m^2", "200 cm^2", False),
        ("1 m^3", "1 m^2", False),
        ("20 °C", "20 °F", False),
        ("20 °C", "20 degrees", False),
        ("1 h 30 min", "1.3 h", False),
        ("5 km/min", "5 min/km", False),
    ],
)
def test_quantities_are_equal_by_size_and_dimension(left: str, right: str, same: bool) -> None:
    first, second = quantity(left), quantity(right)
    assert first is not None
    assert second is not None
    assert first.equals(second) is same
    assert second.equals(first) is same


@given(st.fractions(max_denominator=999, min_value=-999, max_value=999), st.sampled_from(sorted(UNITS)))
def test_any_fraction_with_any_unit_is_read_back_and_no_other_is_equal(value: Fraction, unit: str) -> None:
    written = quantity(f"{value} {unit}")
    assert written == Quantity(value, unit)
    assert written is not None
    other = quantity(f"{value + Fraction(1, 10**6)} {unit}")
    assert other is not None
    assert not other.equals(written)


@given(st.integers(0, 999), st.integers(0, 99), st.integers(1, 99))
def test_a_mixed_number_is_the_sum_of_its_parts(whole: int, over: int, under: int) -> None:
    assert number(f"{whole} {over}/{under}") == whole + Fraction(over, under)


@given(st.integers(1, 99), st.integers(1, 59), st.sampled_from(["h", "hours"]), st.sampled_from([" ", ", ", " and "]))
def test_a_sum_of_parts_is_their_sum(hours: int, minutes: int, name: str, between: str) -> None:
    parts, whole = quantity(f"{hours} {name}{between}{minutes} min"), quantity(f"{60 * hours + minutes} minutes")
    assert parts is not None
    assert whole is not None
    assert parts.equals(whole)
    assert whole.equals(parts)


def test_a_percentage_is_a_number_and_a_length_is_none() -> None:
    assert number("50%") == Fraction(1, 2)
    assert number("5 m") is None
