from factory.evaluation.refusal import is_refusal
from factory.synthesis.persona import HARMLESS, SELF_HARM, identity_chats, safety_chats


def test_harmful_requests_are_declined_in_words_that_evaluation_knows_and_harmless_ones_answered() -> None:
    harmless = {answer for _, answer in HARMLESS}
    for question, answer in safety_chats():
        assert is_refusal(answer) == (answer not in harmless), (question, answer)


def test_chats_are_distinct_and_every_gap_is_filled() -> None:
    for chats in (list(safety_chats()), list(identity_chats("Nova", "the makers"))):
        assert len(set(chats)) == len(chats)
        assert not any("{" in part for chat in chats for part in chat)


def test_the_model_says_its_own_name_and_never_claims_to_be_a_person() -> None:
    answers = {answer for _, answer in identity_chats("Nova", "the makers")}
    assert all("Nova" in answer for answer in answers)
    assert not any("I am a person" in answer for answer in answers)


def test_who_speaks_of_self_harm_is_met_with_care() -> None:
    assert {answer for question, answer in safety_chats() if "harm myself" in question} == {SELF_HARM}
