import subprocess
import sys

import pytest
from pydantic import ValidationError

from factory.preference.config import JudgeConfig, PivotalSearchConfig, RefusalConfig, RejectionConfig, Responder


@pytest.mark.parametrize("section", [PivotalSearchConfig, JudgeConfig, RefusalConfig, RejectionConfig])
def test_the_defaults_are_valid_and_a_misspelt_key_is_not(section: type) -> None:
    assert section.model_validate(section().model_dump(mode="json")) == section()
    with pytest.raises(ValidationError, match="Extra inputs"):
        section.model_validate({"quesions": 3})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lowest_success": 0.9}, "lowest_success 0.9 is above highest_success 0.8"),
        ({"roots": 9}, "roots 9 exceeds filter_samples 5"),
        ({"samples": 32}, "samples 32 exceeds most_samples 16"),
        ({"verification_samples": 65}, "verification_samples 65 exceeds most_verification_samples"),
        ({"gap": 0.0}, "greater than 0"),
        ({"temperature": 0.0}, "greater than 0"),
    ],
)
def test_values_that_cannot_work_are_refused_with_their_name(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PivotalSearchConfig.model_validate(values)


def test_a_responder_must_be_known() -> None:
    with pytest.raises(ValidationError, match="sft_checkpoint"):
        Responder.model_validate({"checkpoint": "gpt"})


def test_reading_the_sections_imports_nothing_heavy() -> None:
    code = (
        "import sys, factory.preference.config, factory.preference.oracles; print([m for m in ('torch', 'tiktoken') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
