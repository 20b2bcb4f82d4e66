"""Expressions compared by value: what is the same, what only looks so, and what must cost neither time nor safety."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.preference.algebra import equivalent
from factory.preference.oracles import algebraic


@pytest.mark.parametrize(
    ("given_", "key"),
    [
        ("x(x+1)", "x^2 + x"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        (r"\dfrac{\sqrt{3}}{2}", r"\sqrt3/2"),
        (r"\frac12 x", "0.5x"),
        (r"\sin^2 x + \cos^2 x", "1"),
        (r"\sin 2x", r"2\sin x\cos x"),
        (r"e^{\ln 5}", "5"),
        (r"\sqrt[3]{27}", "3"),
        ("x = 5/2", r"\frac{5}{2}"),
        ("(1, 1/2)", r"\left(1, \frac{1}{2}\right)"),
        (r"\{1, 2, 2\}", r"\{2, 1, 2\}"),
        ("[0, 1)", "[0,1)"),
        ("3, 1, 2", "3,1,2"),
        (r"\frac{x^2-1}{x-1}", "x+1"),
        ("2π", r"2 \pi"),
        ("1-(2-3)", "2"),
        ("-x^2", "-(x*x)"),
        (r"(0, \infty)", r"(0,\infty)"),
        ("(-∞,2]", r"(-\infty, 2]"),
        ("x > 3", "3 < x"),
        (r"0 < x \le 3", r"3 \geq x > 0"),
        ("x≥2", "2 <= x"),
        ("-2, 2", r"\pm 2"),
        (r"x = \pm\sqrt{8}", r"\{2\sqrt{2}, -2\sqrt{2}\}"),
        (r"1 \pm i", "1-i, 1+i"),
        (r"x \in [0, 1]", "[0,1]"),
        ("f(x) = x+1", "x + 1"),
        ("i^2", "-1"),
        ("(1+i)^2", "2i"),
        ("|x|", r"\sqrt{x^2}"),
        (r"\left|2x-2\right|", "2|x-1|"),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & \sqrt{8} \end{pmatrix}", r"\begin{pmatrix}1&2\\3&2\sqrt2\\\end{pmatrix}"),
    ],
)
def test_the_same_expression_in_another_form_is_right(given_: str, key: str) -> None:
    assert equivalent(given_, key)
    assert equivalent(key, given_)


@pytest.mark.parametrize(
    ("given_", "key"),
    [
        ("(2, 1)", "(1, 2)"),
        ("(0, 1]", "(0, 1)"),
        (r"\{1, 2\}", r"\{1, 2, 2\}"),
        ("1, 3, 2", "1, 2, 3"),
        ("3.14159265358979", r"\pi"),
        ("-x^2", "(-x)^2"),
        ("3 4", "12"),
        (r"2\frac{1}{2}", "1"),
        ("stop", "post"),
        ("no", "on"),
        ("1/0", "1/0"),
        ("10!", "3628800"),
        ("x + y", "x + z"),
        ("", "1"),
        ("x =", "1"),
        ("y = 5", "x = 5"),
        (r"y \in [0,1]", r"x \in [0,1]"),
        ("x", "|x|"),
        ("||x||", "|x|"),
        ("x < 3", "x > 3"),
        (r"x \le 3", "x < 3"),
        ("0 < x > 3", "0 < x > 3"),
        (r"(0,\infty)", r"(0,-\infty)"),
        (r"\infty", "5"),
        (r"\infty - \infty", r"\infty - \infty"),
        ("2", r"\pm 2"),
        ("2, -2", "-2, 2"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
        (r"\begin{pmatrix}1&2&3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
        (r"\begin{pmatrix}1&2\end{pmatrix}", "(1, 2)"),
    ],
)
def test_what_only_looks_alike_or_cannot_be_read_is_wrong(given_: str, key: str) -> None:
    assert not equivalent(given_, key)


@pytest.mark.parametrize(
    ("one", "other"), [("5", "10-5"), ("5+3", "8"), (r"2 \cdot 3 \cdot 5", "30"), ("10-5", "8-3"), (r"\frac{7+1}{2}", "4")]
)
def test_a_calculation_that_is_not_carried_out_is_not_its_result(one: str, other: str) -> None:
    assert not algebraic(one, other)
    assert not algebraic(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("5*3*2", r"2 \cdot 3 \cdot 5"), ("2^{10}", "1024"), (r"1+\sqrt{4}", "3"), ("10^{-3}", "0.001"), ("-(5)", "-5")]
)
def test_factors_in_another_order_and_other_ways_to_write_a_number_are_the_same(one: str, other: str) -> None:
    assert algebraic(one, other)
    assert algebraic(other, one)


@pytest.mark.parametrize(
    "hostile",
    [
        "__import__('os').system('true')",
        "9^9^9^9^9",
        "x^{100000000}",
        r"\sqrt[999999]{2}",
        "(" * 100 + "1" + ")" * 100,
        "-" * 199 + "1",
        r"\exp(\exp(\exp(99)))",
        "1" * 10_000,
        "0.5^" * 40 + "2",
        "|" * 60 + "x",
        "|x|" * 60,
        "<".join("x" * 90),
        r"\begin{pmatrix}" + "&" * 150 + r"\end{pmatrix}",
    ],
)
def test_hostile_answers_cost_no_time_and_run_nothing(hostile: str) -> None:
    begin = time.process_time()
    equivalent(hostile, "x + 1")
    equivalent(hostile, hostile)
    assert time.process_time() - begin < 1.0


LEAVES = st.sampled_from(["x", "y", "2", "3", "7"])
EXPRESSIONS = st.recursive(
    LEAVES, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({''.join(parts)})"), max_leaves=6
)


@given(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS)
def test_the_laws_of_arithmetic_hold_and_adding_one_breaks_equality(a: str, b: str, c: str) -> None:
    assert equivalent(f"{a} + {b}", f"{b} + {a}")
    assert equivalent(f"{a} * ({b} + {c})", f"{a} * {b} + {c} * {a}")
    assert equivalent(f"{a} - {b}", f"-({b} - {a})")
    assert not equivalent(a, f"{a} + 1")


@given(st.text(alphabet=r"xi12+-*/^(){}[],\ sqrtfacpml=.<>|&∞±≤∈", max_size=40))
def test_no_text_breaks_the_comparison(text: str) -> None:
    assert isinstance(equivalent(text, "x^2 + 1"), bool)
    assert isinstance(equivalent("x^2 + 1", text), bool)
