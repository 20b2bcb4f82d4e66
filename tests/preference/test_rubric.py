"""The rubric program sees an answer's style in whatever form it is stated."""

import pytest
from stage_bench import question

from factory.preference.rubric import Case, RubricProgram
from factory.preference.stated import ends_with_answer, statements

ASKED = question("7 and 9?", "16", steps=["16"])


@pytest.mark.parametrize(
    "answer",
    ["7 + 9 = 16. Answer: 16", "7 + 9 = 16\n**Answer:** 16", "7 + 9 = 16\n#### 16", r"So it is $\boxed{16}$.", r"Answer: \boxed{16}"],
)
def test_a_right_answer_that_ends_a_text_has_full_style_in_every_form(answer: str) -> None:
    (judgement,) = RubricProgram().judge_all([Case(ASKED, (answer,))])
    assert judgement is not None
    assert (judgement.accuracy, judgement.style) == ((5,), (5,))
    assert judgement.faults == (("none",),)


@pytest.mark.parametrize(
    ("answer", "style"), [("Answer: 16\nAnswer: 16", 1), (r"\boxed{16} it is, or so I believe", 3), ("It is 16", 1), (r"\boxed{16", 3)]
)
def test_an_answer_stated_twice_or_followed_by_talk_loses_style(answer: str, style: int) -> None:
    (judgement,) = RubricProgram().judge_all([Case(ASKED, (answer,))])
    assert judgement is not None
    assert judgement.style == (style,)


def test_working_before_a_box_counts_as_steps() -> None:
    judgements = [RubricProgram().judge_all([Case(ASKED, (answer,))])[0] for answer in (r"7 + 9 = 16, \boxed{16}", r"\boxed{16}")]
    assert [judgement.detail for judgement in judgements if judgement] == [(5,), (1,)]


def test_a_box_in_an_answer_s_line_is_no_second_statement() -> None:
    assert len(statements("Answer: $\\boxed{12}$")) == 1
    assert len(statements("Answer: 7\n\\boxed{8}")) == 2
    assert ends_with_answer("So. ANSWER: 7")
    assert not ends_with_answer("")
