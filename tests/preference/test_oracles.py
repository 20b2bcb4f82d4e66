import json
import string
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from factory.preference.oracles import ORACLES, VERSIONS, answer_is_correct, final_answer, numeric, plurality
from factory.preference.quantities import number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Start: 5\n1. gain 3: 5 + 3 = 8\nAnswer: 8", "8"),
        ("Answer: 7\nNo, wait.\nAnswer: 8", "8"),
        ("Answer: 7. Answer: 8", "8"),
        ("Answer: 8.", "8"),
        ("**Answer:** `8`", "8"),
        ("answer: 08", "8"),
        ("Answer: 1,200", "1200"),
        ("Answer: -3", "−3"),
        ("Answer: -$5", "-5"),
        ("Answer: 0.5", "1/2"),
        ("Answer: 50%", "0.5"),
        ("Answer: 2e3", "2000"),
        (r"so \boxed{\frac{3}{4}}", "0.75"),
        (r"Answer: $\boxed{12}$", "12"),
        (r"\boxed{f(\{1, 2\})}", r"f(\{1, 2\})"),
        ("4 + 4 = 8\n#### 8", "8"),
        ("Answer: (B) the second", "B"),
        ("Answer: functools", "functools"),
        ("Answer:  two   words ", "two words"),
        (r"Answer: \(8\)", "8"),
        (r"\fbox{8}", "8"),
        (r"\boxed{\text{(B)}}", "B"),
        (r"\boxed{\frac{\sqrt{8}}{2}}", r"\sqrt{2}"),
        (r"\boxed{\boxed{8}}", "8"),
        ("Answer: the answer is 8", "8"),
        ("Answer: 1500 m", "1.5 km"),
        ("Answer: x = 3", "3"),
        ("#### $1,234.50", "1234.5"),
        ("Answer: 3 1/2", "3.5"),
    ],
)
def test_right_answers_in_tricky_forms_are_right(text: str, answer: str) -> None:
    assert answer_is_correct(text, answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: 8\nAnswer: 7", "8"),
        ("5 + 3 = 8", "8"),
        ("Answer:", "8"),
        ("Answer: 8\nAnswer:", "8"),
        ("Answer: 88", "8"),
        ("Answer: 8 apples and 3 pears", "8"),
        ("Answer: 8.0000001", "8"),
        ("Answer: 3/0", "3"),
        (r"\boxed{8", "8"),
        (r"Answer: 8 \boxed{7}", "8"),
        ("Answer: Bees", "B"),
        ("Answer: A", "B"),
        ("Answer: 1e99999999999", "8"),
        ("Answer: itertools", "functools"),
        ("Answer: 3 4", "34"),
        ("Answer: 3 1/2", "15.5"),
        ("Answer: 5 kg", "5 km"),
        ("Answer: 8 or 9", "8"),
        ("Answer: (2, 1)", "(1, 2)"),
        (r"\boxed{2\frac{1}{2}}", "1"),
        ("Answer: " + "9" * 100_000, "8"),
    ],
)
def test_wrong_unstated_and_malformed_answers_are_wrong(text: str, answer: str) -> None:
    assert not answer_is_correct(text, answer)


@given(st.integers(-(10**9), 10**9), st.text(alphabet=string.ascii_letters + " \n=+", max_size=40))
def test_any_integer_stated_last_is_read_back_whatever_comes_before(value: int, before: str) -> None:
    assert answer_is_correct(f"{before}\nAnswer: {value}", str(value))
    assert answer_is_correct(f"{before}\nAnswer: {value:,}", str(value))
    assert not answer_is_correct(f"{before}\nAnswer: {value + 1}", str(value))


@given(st.fractions(max_denominator=10**6))
def test_fractions_are_compared_exactly(value: Fraction) -> None:
    assert number(f"{value.numerator}/{value.denominator}") == value
    assert numeric(f"{value.numerator * 3}/{value.denominator * 3}", str(value))
    assert not numeric(str(value + Fraction(1, 10**9)), str(value))


@given(st.text(max_size=60))
def test_no_text_breaks_an_oracle(text: str) -> None:
    assert isinstance(answer_is_correct(f"Answer: {text}", text), bool)
    assert number(text) is None or isinstance(number(text), Fraction)
    assert final_answer(text) != ""


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["8", "8.0", "7"], "8"),
        (["8", "8", "8"], None),
        (["1", "2", "3"], None),
        (["1", "1", "2", "2"], None),
        (["1", "1", None, None, None], "1"),
        ([None, None], None),
        ([], None),
        (["Ada", "Ada", "Alan"], "Ada"),
    ],
)
def test_a_plurality_informs_only_between_agreement_and_chaos(answers: list[str | None], expected: str | None) -> None:
    assert plurality(answers) == expected


INTEGERS = st.integers(-(10**6), 10**6)
KEYS = st.one_of(
    INTEGERS.map(str),
    st.fractions(max_denominator=99, min_value=-99, max_value=99).map(str),
    st.tuples(INTEGERS, st.sampled_from(["km", "m^2", "km/h", "°C", "%", "hours", "feet 6 inches", "h 30 min"])).map(
        lambda p: f"{abs(p[0])} {p[1]}"
    ),
    st.sampled_from(string.ascii_uppercase),
    st.text(alphabet=string.ascii_letters, min_size=2, max_size=9),
    st.sampled_from(
        [r"\sqrt{8}", "x^2+x", r"(0,\infty)", "x > 3", r"\pm 2", "x = 5", r"\{1, 2\}", "|x|", "10-5", r"2 \cdot 3", "J. Doe", "3, 1, 2"]
    ),
)
PUT = ("Answer: {}", "So it is.\n**Answer:** {}.", "#### {}", r"\boxed{{{}}}", r"Answer: \boxed{{{}}}")


@settings(deadline=None)  # the first comparison of expressions imports mpmath
@given(KEYS, st.sampled_from(PUT))
def test_every_key_is_right_where_it_is_stated_in_whatever_form(key: str, put: str) -> None:
    assert answer_is_correct(put.format(key), key)


@settings(deadline=None)
@given(KEYS, KEYS)
def test_an_oracle_says_the_same_in_both_directions(one: str, other: str) -> None:
    assert [o.name for o in ORACLES if o.accepts(one, other)] == [o.name for o in ORACLES if o.accepts(other, one)]


@settings(deadline=None)
@given(
    INTEGERS, INTEGERS, st.sampled_from(["{}", "{}.0", "${}$", "{:,}", "{} km", "x = {}", "({})", "{} + 0", r"\frac{{{}}}{{1}}", "{}/1"])
)
def test_no_oracle_accepts_another_integer(one: int, other: int, form: str) -> None:
    assume(one != other)
    for given_, key in ((form.format(one), str(other)), (str(other), form.format(one)), (form.format(one), form.format(other))):
        assert not [oracle.name for oracle in ORACLES if oracle.accepts(given_, key)]


TESTS = json.dumps({"function": "double", "inputs": [[1], ["ab"]], "outputs": [2, "abab"]})
RIGHT = "def double(x):\n    return x + x"


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (f"It adds.\n```python\n{RIGHT}\n```", True),
        (RIGHT, True),
        (f"```python\n{RIGHT}\n```\nNo:\n```\ndef double(x):\n    return x\n```", False),
        ("```python\ndef double(x):\n    while True:\n        pass\n```", False),
        ("```python\nimport os\ndef double(x):\n    return os.getcwd()\n```", False),
        ("```python\ndef other(x):\n    return x + x\n```", False),
        ("Answer: 2", False),
    ],
)
def test_code_is_right_when_it_passes_its_tests_in_the_sandbox(text: str, passes: bool) -> None:
    assert answer_is_correct(text, TESTS) is passes


def test_every_oracle_has_a_version() -> None:
    assert VERSIONS.keys() == {"exact", "numeric", "choice", "algebraic", "code", "plurality"}
    assert min(VERSIONS.values()) >= 1
