"""Multiple choice and plurality: what names the same choice, what only looks so, and which answer was given most often."""

import random
import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from factory.preference.oracles import answer_is_correct, equal, multiple_choice, plurality

LETTERS = st.sampled_from(string.ascii_uppercase)
WORDS = st.text(alphabet=string.ascii_letters, min_size=2, max_size=8)
FORMS = ("{0}", "({0})", "{0}.", "{0})", "{0}:", "option {0}", "Option ({0})", "choice {0}", r"\text{{({0})}}")
SMALL_FORMS = ("({0})", "{0})", "{0}: it", "option {0}", "choice ({0})")


@pytest.mark.parametrize(
    "given_", ["B", "(B)", "B.", "b)", "B) blue", "(b) blue", "B. A dog", "B) I think so", "B) Vitamin K", "B) f(x)", "B) B is right"]
)
def test_a_choice_is_its_letter(given_: str) -> None:
    assert multiple_choice(given_, "B")


@pytest.mark.parametrize(
    "given_", ["A", "b", "Blue", "B. or C.", "B) or (C)", "B or C", "B, C", "(b) or c", "b) or c)", "option B or C", "B) maybe A", "B) C)"]
)
def test_another_letter_a_second_one_and_a_symbol_are_not_the_choice(given_: str) -> None:
    assert not multiple_choice(given_, "B")
    assert not answer_is_correct(f"Answer: {given_}", "B")


@pytest.mark.parametrize(
    ("given_", "key"), [("J. Doe", "J. Smith"), ("C. difficile", "C. elegans"), ("T: 5", "T: 6"), ("B) red", "B) blue")]
)
def test_what_merely_begins_with_the_key_s_letter_is_wrong(given_: str, key: str) -> None:
    assert not answer_is_correct(f"Answer: {given_}", key)


def test_a_key_that_shows_its_text_is_named_by_its_letter() -> None:
    assert answer_is_correct("Answer: (B)", "B) blue")
    assert not answer_is_correct("Answer: J", "J. Doe")


@given(LETTERS, LETTERS, st.sampled_from(FORMS), st.sampled_from(FORMS), WORDS)
def test_every_form_of_a_letter_is_that_letter_and_no_other(one: str, other: str, form: str, key_form: str, text: str) -> None:
    stated, key = f"Answer: {form.format(one)}", key_form.format(one)
    assume("option" not in key.casefold() and "choice" not in key)
    assert answer_is_correct(stated, key)
    assert answer_is_correct(f"Answer: {one}) {text}", one)
    assert answer_is_correct(stated, other) is (one == other)


@given(LETTERS, st.sampled_from(SMALL_FORMS))
def test_a_small_letter_counts_where_it_is_marked_as_a_choice(letter: str, form: str) -> None:
    assert answer_is_correct(f"Answer: {form.format(letter.casefold())}", letter)


ANSWERS = st.lists(st.sampled_from(["8", "8.0", "16/2", "7", "B", "(B)", "1 km", "1000 m", "Ada", r"\sqrt{8}", r"2\sqrt{2}"]), max_size=9)


@settings(deadline=None)  # the first comparison of expressions imports mpmath
@given(ANSWERS, st.randoms(use_true_random=False))
def test_a_plurality_is_more_often_given_than_any_other_whatever_the_order(answers: list[str], lots: random.Random) -> None:
    winner = plurality(answers)
    assert (plurality(lots.sample(answers, len(answers))) is None) is (winner is None)
    if winner is not None:
        votes = sum(equal(winner, answer) for answer in answers)
        assert 1 < votes < len(answers)
        assert all(sum(equal(one, answer) for answer in answers) < votes for one in answers if not equal(one, winner))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["B", "(B)", "A"], "B"),
        (["1 km", "1000 m", "5 m"], "1 km"),
        ([r"\sqrt{8}", r"2\sqrt{2}", "3"], r"\sqrt{8}"),
        (["x(x+1)", "7", "x^2 + x", "7", "7"], "7"),
        (["5 m", "5", "5 km", "7"], None),
        (["5 m", "5", "7"], "5 m"),
        (["B", "(B)", "B)"], None),
    ],
)
def test_answers_that_an_oracle_takes_for_one_are_counted_as_one(answers: list[str], expected: str | None) -> None:
    assert plurality(answers) == expected
