"""The sections of a recipe for what a team brings itself beside documents: questions, and chats."""

from typing import Literal, Self

from pydantic import Field, model_validator

from factory.curation.config import RowsConfig
from factory.preference.domains import Domain

ChatDomain = Literal["math", "coding", "reasoning", "conversation", "identity", "safety"]
"""What a fine-tuning conversation is about (paper, section 4.1)."""


class QuestionSource(RowsConfig):
    """Questions of one's own: JSONL or Parquet rows with a question and, as a rule, its answer, its choices or its tests."""

    domain: Domain = Field(description="what they are about; pairs are counted and limited by it (paper, table 7)")
    text_field: str = Field(default="question", min_length=1, description="the question's field")
    answer_field: str = Field(
        default="answer", description="the answer's field; empty: the teacher is asked, and the plurality of its answers decides"
    )
    choices_field: str = Field(
        default="", description="field of the texts to choose from; the answer is a label, an index from 0 or a text"
    )
    tests_field: str = Field(default="", description="field of tests of a Python function: asserts, or an object of inputs and outputs")
    function_field: str = Field(default="", description="field of the tested function's name, where the asserts do not call it by its name")
    held_out: float = Field(
        default=0, ge=0, le=1, description="share of the questions that join the benchmarks and are never trained on; 1 for a test set"
    )

    @model_validator(mode="after")
    def _one_kind_of_answer(self) -> Self:
        if self.tests_field and (self.choices_field or self.domain != "python"):
            raise ValueError(f"tests_field {self.tests_field!r} goes with domain python and without choices_field: only Python is run")
        if self.choices_field and not self.answer_field:
            raise ValueError(f"choices_field {self.choices_field!r} needs an answer_field that says which of them is right")
        if self.held_out and not (self.answer_field or self.tests_field):
            raise ValueError(f"held_out {self.held_out} needs an answer_field or a tests_field: a benchmark has known answers")
        return self


class ChatSource(RowsConfig):
    """Fine-tuning conversations of one's own: JSONL or Parquet rows with a list of messages, or with a prompt and its answer."""

    domain: ChatDomain = Field(description="What the conversations are about: counted, and a word for `training.sft.leave_out`.")
    messages_field: str = Field(default="", description="The messages' field; empty: `messages`, unless `prompt_field` is set.")
    prompt_field: str = Field(default="", description="The prompt's field in instruction data.")
    answer_field: str = Field(default="", description="The answer's field in instruction data.")
    system_field: str = Field(default="", description="The system message's field in instruction data, where it has one.")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        paired = bool(self.prompt_field) == bool(self.answer_field)
        if not paired or (self.messages_field and self.prompt_field) or (self.system_field and not self.prompt_field):
            raise ValueError(
                f"messages_field {self.messages_field!r}, prompt_field {self.prompt_field!r}, answer_field {self.answer_field!r} and "
                f"system_field {self.system_field!r}: set the first alone, or prompt_field and answer_field, with or without system_field"
            )
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that a row is read for."""
        asked = (self.prompt_field, self.answer_field, self.system_field) if self.prompt_field else (self.messages_field or "messages",)
        return tuple(field for field in asked if field)
