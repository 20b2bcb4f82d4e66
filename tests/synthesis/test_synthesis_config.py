import pytest
from pydantic import ValidationError

from factory.synthesis.config import BenchmarksConfig, ConversationConfig, SynthesisConfig, TeacherConfig, TeacherIdentity

ENDPOINT = {"kind": "openai", "model": "m", "price_per_million_input": 1.0, "price_per_million_output": 2.0}


def test_the_teacher_s_identity_reaches_every_stage_and_nothing_else_of_it_does() -> None:
    config = SynthesisConfig.model_validate({"teacher": {**ENDPOINT, "base_url": "http://host/v1"}})
    for section in (config.question_bank, config.web_rewrites, config.synthetic_documents):
        assert section.teacher == TeacherIdentity(kind="openai", model="m")
        assert "host" not in section.model_dump_json()
    assert config.teacher.runtime()["base_url"] == "http://host/v1"
    assert TeacherConfig.model_validate({**config.teacher.identity().model_dump(), **config.teacher.runtime()}) == config.teacher


def test_a_stage_may_name_another_model() -> None:
    rewrites = {"teacher": {"kind": "openai", "model": "small"}}
    config = SynthesisConfig.model_validate({"teacher": ENDPOINT, "web_rewrites": rewrites})
    assert (config.web_rewrites.teacher.model, config.question_bank.teacher.model) == ("small", "m")


@pytest.mark.parametrize(
    ("model", "values", "said"),
    [
        (TeacherConfig, {"kind": "openai", "model": "m"}, "budget means nothing"),
        (TeacherConfig, {"kind": "procedural", "model": "gpt"}, "is a program"),
        (TeacherConfig, {"kind": "openai"}, "is a program"),
        (BenchmarksConfig, {"min_steps": 4, "max_steps": 2}, "above max_steps"),
        (ConversationConfig, {"style_weights": (0.5, 0.5, 0.5)}, "sum to 1"),
        (ConversationConfig, {"safety_share": 0.2}, "0.05"),
        (SynthesisConfig, {"rewrites": {}}, "rewrites"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(model: type, values: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        model.model_validate(values)
