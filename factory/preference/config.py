"""Sections of the recipe for the preference stages. The defaults suit the laptop recipe.

The paper leaves most of these values open (its production gap, samples per prefix, question count); each is a field here so
that a recipe can say what was done.
"""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from factory.curation.config import RowsConfig
from factory.preference.domains import DOMAINS
from factory.sampling.config import LocalEngine, SamplingConfig
from factory.settings import Section
from factory.synthesis.config import CheckedSection, TeacherIdentity

MOST_WORKERS = 64


class SamplingSection(Section):
    """What every stage that samples a model must fix: batches are a function of these fields alone."""

    sampling: SamplingConfig = LocalEngine()
    max_new_tokens: int = Field(default=96, ge=1, description="longest completion, in tokens")


class QuestionWindow(SamplingSection, CheckedSection):
    """Which questions are worth the search: neither solved nor hopeless (paper, section 4.3)."""

    questions: int = Field(default=800, ge=1, description="questions taken from the bank")
    filter_samples: int = Field(default=8, ge=2, description="answers sampled from each question to estimate its success rate")
    lowest_success: float = Field(default=0.2, ge=0, le=1, description="questions below this success rate are dropped")
    highest_success: float = Field(default=0.8, ge=0, le=1, description="questions above this success rate are dropped")
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature of all rollouts")
    top_p: float = Field(default=1.0, gt=0, le=1, description="draw from the likeliest tokens that have this chance together")

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        if self.lowest_success > self.highest_success:
            raise ValueError(f"lowest_success {self.lowest_success} is above highest_success {self.highest_success}: exchange them")
        return self


class PivotalSearchConfig(QuestionWindow):
    """Pivotal token search (paper, section 4.3)."""

    filter_samples: int = Field(default=5, ge=2, description="answers sampled from each question to estimate its success rate")
    questions_together: int = Field(default=1000, ge=1, description="questions searched side by side: bounds memory, fills batches")
    workers: int = Field(default=1, ge=1, le=MOST_WORKERS, description="processes that divide the groups of questions; changes no result")
    quotas: dict[str, int] = Field(
        default={}, description="most pairs of a domain, such as {math: 76552, unknown + safety: 3000}; any number where none is named"
    )
    roots: int = Field(default=2, ge=1, description="sampled answers of each kept question that are searched")
    samples: int = Field(default=8, ge=2, description="rollouts at either end of a piece of an answer before anything is decided about it")
    most_samples: int = Field(default=16, ge=2, description="rollouts at either end of a piece that is in doubt")
    miss: float = Field(
        default=0.1, gt=0, lt=0.5, description="a piece is given up when the chance that it changes p(success) by the gap is less"
    )
    propose: float = Field(
        default=0.35, gt=0, lt=1, description="a token is verified as a pivot when the chance that it changes p(success) by the gap is this"
    )
    gap: float = Field(default=0.2, gt=0, le=1, description="smallest change of p(success) that makes a token pivotal")
    prune: bool = Field(default=True, description="skip segments too probable to hold a pivot (exact bound)")
    reuse: bool = Field(default=True, description="count a rollout at every prefix of the searched answer that it passes through")
    error_rate: float = Field(default=0.05, gt=0, lt=0.5, description="stated rate of false pivots, whose change is below 3/4 of the gap")
    verification_samples: int = Field(
        default=8, ge=2, description="fresh rollouts that follow each pivot, and that leave it, at the first look of its test"
    )
    most_verification_samples: int = Field(
        default=32, ge=2, description="fresh rollouts at its last look: pivots in doubt even then are dropped"
    )
    figure_samples: int = Field(default=128, ge=1, description="rollouts behind each point of the picture of one searched answer")

    most_alike: int | None = Field(
        default=None, ge=1, description="most pairs with the same two tokens in the same place of the answer; any number without it"
    )

    @field_validator("quotas")
    @classmethod
    def _no_quota_is_negative(cls, quotas: dict[str, int]) -> dict[str, int]:
        unknown = sorted(set(quotas) - DOMAINS)
        if unknown or min(quotas.values(), default=0) < 0:
            raise ValueError(f"quotas {quotas}: give numbers from 0 for some of the domains {sorted(DOMAINS)}")
        return quotas

    @model_validator(mode="after")
    def _samples_only_grow(self) -> Self:
        for name in ("samples", "verification_samples"):
            if getattr(self, name) > getattr(self, f"most_{name}"):
                raise ValueError(f"{name} {getattr(self, name)} exceeds most_{name} {getattr(self, f'most_{name}')}: raise the latter")
        return self

    @model_validator(mode="after")
    def _enough_answers(self) -> Self:
        if self.roots > self.filter_samples:
            raise ValueError(f"roots {self.roots} exceeds filter_samples {self.filter_samples}, among which they are chosen: lower it")
        return self


class Responder(Section):
    """Who answers the judged questions."""

    checkpoint: Literal["sft_checkpoint", "pivotal_dpo_checkpoint", "program", "teacher"] = Field(
        description="the input, the question's own solution, or the language model in `teacher`"
    )
    teacher: TeacherIdentity | None = Field(default=None, description="the language model at the teacher's endpoint that answers")
    temperature: float = Field(default=1.0, ge=0, description="sampling temperature; 0 is greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="a checkpoint draws from the likeliest tokens that have this chance together")
    answers: int = Field(default=2, ge=1, description="answers to each question")

    @model_validator(mode="after")
    def _names_its_teacher(self) -> Self:
        named = self.teacher is not None and self.teacher.kind == "openai"
        if named != (self.checkpoint == "teacher") or (self.teacher is not None and not named):
            raise ValueError(
                f"responder {self.checkpoint!r} goes {'without' if named else 'with'} a teacher of kind openai: "
                "name one for checkpoint: teacher, and none for any other"
            )
        return self


def _responders() -> tuple[Responder, ...]:
    return (
        Responder(checkpoint="sft_checkpoint", temperature=1.0),
        Responder(checkpoint="pivotal_dpo_checkpoint", temperature=1.0),
        Responder(checkpoint="pivotal_dpo_checkpoint", temperature=0.7),
    )


class JudgeConfig(SamplingSection):
    """Judge-guided pairs of whole answers (paper, section 4.2 and appendix A.2)."""

    questions: int = Field(default=300, ge=1, description="questions taken from the bank")
    responders: tuple[Responder, ...] = Field(default_factory=_responders, min_length=1, description="who answers each question")
    accuracy_share: float = Field(
        default=2 / 3, ge=0, le=1, description="share of judged pairs that are chosen by accuracy; the rest by overall score"
    )
    unknown_share: float | None = Field(
        default=0.1, ge=0, lt=1, description="most of the round's pairs on what is unknown or unsafe (paper: 0.052); null: no limit"
    )
    safety_share: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="share of these on safety: harmful requests declined, harmless ones answered; the rest are refusals",
    )
    teacher: TeacherIdentity = Field(
        default=TeacherIdentity(),
        description="the judge: a language model at the teacher's endpoint, or (procedural) the rubric as a program",
    )
    max_teacher_tokens: int = Field(default=2048, ge=64, description="longest verdict or answer asked of a language model, in tokens")
    margin: float = Field(default=1.0, gt=0, le=4, description="smallest difference of scores; less is a tie and dropped")
    round_questions: int = Field(default=100, ge=1, description="questions answered, judged and committed together")

    @property
    def models(self) -> tuple[TeacherIdentity, ...]:
        """The language models that are asked, as judge or as responder."""
        asked = (self.teacher, *(responder.teacher for responder in self.responders))
        return tuple(model for model in asked if model is not None and model.kind == "openai")


class TriviaSource(RowsConfig):
    """Trivia of one's own: JSONL or Parquet rows with a question and its answer."""

    text_field: str = Field(default="question", min_length=1, description="the question's field")
    answer_field: str = Field(default="answer", min_length=1, description="the answer's field")


class RefusalConfig(SamplingSection):
    """Refusal data (paper, section 4.4 and appendix A.1)."""

    teacher: TeacherIdentity = Field(
        default=TeacherIdentity(), description="who words replies, refusals and bogus variants; that of synthesis where none is named"
    )
    teacher_temperature: float = Field(default=0.7, ge=0, le=2, description="temperature of a language model's pieces")
    max_teacher_tokens: int = Field(default=256, ge=16, description="longest piece asked of a language model, in tokens")
    least_quality: int = Field(default=4, ge=1, le=5, description="bogus variants that a language model grades lower (1 to 5) are dropped")

    max_new_tokens: int = Field(default=32, ge=1, description="longest answer to a trivia question, in tokens")
    questions: int = Field(default=160, ge=4, description="trivia questions that the model is asked, half of them without an answer")
    samples: int = Field(default=6, ge=1, description="answers sampled to each question")
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature of the answers")
    usually: float = Field(default=0.6, gt=0.5, le=1, description="rate from which the model is usually correct, or usually wrong")
    pair_tokens: int = Field(default=5, ge=1, description="tokens of each answer that a preference pair holds")
    held_out: int = Field(default=400, ge=2, description="further questions, for the evaluation alone, half of them without an answer")


class RejectionConfig(QuestionWindow):
    """The control of the ablation: pairs of whole answers at the pivotal search's decode budget."""

    questions: int = Field(default=8000, ge=1, description="most questions taken from the bank; the budget usually ends before")
    pairs_per_question: int = Field(default=4, ge=1, description="most pairs of one question")
    round_questions: int = Field(default=40, ge=1, description="questions sampled and committed together")
