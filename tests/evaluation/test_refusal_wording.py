"""What counts as a refusal, and what as an attempt in spite of one."""

import pytest

from factory.evaluation.refusal import is_refusal, verdict
from factory.preference import trivia


@pytest.mark.parametrize(
    "text",
    [
        "No idea.",
        "I have no idea who that is.",
        "There is no such item.",
        "There was no such king.",
        "I can't help with that.",
        "I can’t say.",
    ],
)
def test_short_and_indirect_refusals_are_refusals(text: str) -> None:
    assert is_refusal(text)
    assert verdict(text, correct=False) == "not attempted"


@pytest.mark.parametrize(
    "text",
    [
        "I cannot help but notice the answer is 7. Answer: 7",
        "I can't help thinking of Paris.",
        "Answer: 7. I am not sure about it.",
        "I am not sure, but it may be so. Answer: 7",
        r"I do not know this well; however, \boxed{7} seems right",
        "There is no idea so good. Answer: 7",
    ],
)
def test_an_answer_that_is_stated_all_the_same_is_an_attempt(text: str) -> None:
    assert verdict(text, correct=False) == "incorrect"
    assert verdict(text, correct=True) == "correct"


@pytest.mark.parametrize("stray", ["", "\n1. first: 3", "\nList: 2 3 3\n1. last: 3\nAnswer: 3"])
def test_a_taught_refusal_stays_one_whatever_a_small_model_says_behind_it(stray: str) -> None:
    for text in (*trivia.REFUSALS, *(form.format(subject="`parseTools`") for form in trivia.BOGUS_REFUSALS)):
        assert verdict(text + stray, correct=False) == "not attempted", text


def test_no_taught_answer_is_a_refusal() -> None:
    assert [verdict(form.format(answer="json"), correct=False) for form in trivia.ANSWERS] == ["incorrect"] * len(trivia.ANSWERS)
