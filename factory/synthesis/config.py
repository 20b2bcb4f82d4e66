"""The sections of a recipe that synthesis reads.

What a teacher *is* (its kind and model) names the data it writes, so it belongs to an artefact's identity; where it is
reached, what it costs and how hard it is driven do not. Hence two models: `TeacherIdentity` goes into every section of a
stage that asks a teacher, `TeacherConfig.runtime()` goes to the job beside it. The key itself is in neither: a recipe
names the environment variable that holds it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from factory.curation.config import DecontaminationConfig
from factory.settings import Section

PROCEDURAL_MODEL = "procedural-teacher"
SHARES_TOLERANCE = 1e-9


class TeacherIdentity(Section):
    """Who writes: this is part of an artefact's identity."""

    kind: Literal["procedural", "openai"] = Field(default="procedural", description="A program of ours, or any OpenAI-compatible endpoint.")
    model: str = Field(default=PROCEDURAL_MODEL, min_length=1, description="The model's name at the endpoint.")

    @model_validator(mode="after")
    def _honest_name(self) -> Self:
        if (self.kind == "procedural") != (self.model == PROCEDURAL_MODEL):
            raise ValueError(f"teacher kind {self.kind!r} does not go with model {self.model!r}: only {PROCEDURAL_MODEL!r} is a program")
        return self


class TeacherConfig(TeacherIdentity):
    """The teacher of a recipe: its identity, and how this machine reaches it."""

    base_url: str = Field(default="https://api.openai.com/v1", description="Root of the OpenAI-compatible interface.")
    api_key_env: str = Field(default="OPENAI_API_KEY", description="Name of the environment variable that holds the key.")
    price_per_million_input: float | None = Field(
        default=None, ge=0, description="Money per million prompt tokens; 0 for a server of your own."
    )
    price_per_million_output: float | None = Field(
        default=None, ge=0, description="Money per million answer tokens; 0 for a server of your own."
    )
    budget: float = Field(default=1.0, ge=0, description="Hard cap on all money spent through one answer cache.")
    max_concurrency: int = Field(default=8, ge=1, le=1024, description="Requests in flight at once.")
    timeout: float = Field(default=120.0, gt=0, description="Seconds before a request is given up and tried again.")
    max_retries: int = Field(default=6, ge=0, le=50, description="Further tries after status 429, a 5xx or a lost connection.")

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.kind == "openai" and None in (self.price_per_million_input, self.price_per_million_output):
            raise ValueError(
                "an openai teacher needs price_per_million_input and price_per_million_output, or its budget means nothing; "
                "set both to 0 for a server of your own"
            )
        return self

    def identity(self) -> TeacherIdentity:
        """The part that names what is written."""
        return TeacherIdentity(kind=self.kind, model=self.model)

    def runtime(self) -> dict[str, Any]:
        """The part that may differ between machines, for `JobSpec.runtime["teacher"]`."""
        return self.model_dump(exclude={"kind", "model"})


class TaughtSection(Section):
    """A stage that asks the teacher. `SynthesisConfig` fills `teacher` in; a stage may name another model at the same endpoint."""

    teacher: TeacherIdentity = Field(default=TeacherIdentity(), description="Who writes for this stage.")


def _a_language_model(named: TeacherIdentity | None) -> TeacherIdentity | None:
    if named is not None and named.kind == "procedural":
        raise ValueError("a program knows no other words for an answer: name a language model, {kind: openai, model: ...}")
    return named


class CheckedSection(Section):
    """A stage that grades answers. What no oracle accepts may be put to a language model (`factory.preference.checker`)."""

    checker: Annotated[TeacherIdentity | None, AfterValidator(_a_language_model)] = Field(
        default=None,
        exclude_if=lambda named: named is None,  # where nobody is asked, nothing becomes stale
        description="the language model that is asked whether an answer that no oracle accepts matches the key; nobody by default",
    )


class BenchmarksConfig(Section):
    """Held-out problems. The seed is the benchmark's own: experiments with different seeds are scored on the same problems."""

    problems: int = Field(default=1000, ge=1, description="Number of held-out problems.")
    seed: int = Field(default=20241212, ge=0, description="Seed of the held-out set.")
    min_steps: int = Field(default=2, ge=1, le=4, description="Fewest steps of a problem.")
    max_steps: int = Field(default=4, ge=1, le=4, description="Most steps of a problem.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} is above max_steps {self.max_steps}")
        return self


class QuestionBankConfig(TaughtSection):
    """Training problems with known answers, disjoint from the benchmarks."""

    decontamination: DecontaminationConfig | None = Field(
        default=None,
        exclude_if=lambda named: named is None,
        description="thresholds of Algorithm 1 for questions of one's own; those of `curation` where none are named",
    )

    problems: int = Field(default=30_000, ge=1, description="Number of problems kept.")
    step_weights: tuple[float, float, float, float] = Field(default=(3, 3, 2, 2), description="Weights of 1, 2, 3 and 4 steps.")
    plurality_samples: int = Field(default=5, ge=3, le=64, description="Independent answers asked for each organic question.")
    max_answer_tokens: int = Field(default=512, ge=1, description="Longest answer asked of the teacher, in tokens.")


class RewriteConfig(TaughtSection):
    """Rewrites of real passages and of questions."""

    passages: int = Field(
        default=3000, ge=0, description="Seed passages rewritten, best first as they come; each gives up to three documents."
    )
    passage_characters: int = Field(default=600, ge=80, description="Longest excerpt of a passage shown to the teacher.")
    questions: int = Field(default=9000, ge=0, description="Questions of the bank rewritten as a discussion or a forum thread.")
    forum_share: float = Field(default=0.25, ge=0, le=1, description="Share of question rewrites that are forum threads.")
    forum_noise: float = Field(default=0.3, ge=0, le=1, description="Share of forum threads with a wrong answer (kind `forum_wrong`).")
    revise_below: int = Field(default=4, ge=1, le=5, description="An exercise scored below this by the critic (1 to 5) is revised once.")
    max_answer_tokens: int = Field(default=512, ge=1, description="Longest answer asked of the teacher, in tokens.")
    max_drop_share: float = Field(default=0.5, gt=0, le=1, description="More answers than this failing validation stops the stage.")


class SyntheticConfig(TaughtSection):
    """Exercises, questions and answers, annotated programs, instruction reversal, worksheets."""

    exercises: int = Field(default=12_000, ge=0, description="Problems written as exercise and solution.")
    questions_and_answers: int = Field(default=12_000, ge=0, description="Problems written as question and answer.")
    annotated_programs: int = Field(default=8000, ge=0, description="Programs with traced values as comments (cluster `code`).")
    program_reversals: int = Field(default=600, ge=0, description="Programs turned into instruction and code.")
    function_trials: int = Field(default=24, ge=4, le=1000, description="Generated inputs on which a regenerated function must agree.")
    worksheets: int = Field(default=150, ge=0, description="Long documents of many problems with a key at the end (kind `worksheet`).")
    worksheet_problems: int = Field(default=24, ge=2, description="Problems in a worksheet; one is about 60 tokens.")
    style_weights: tuple[float, float, float] = Field(default=(1, 4, 5), description="Weights of the styles direct, brief and steps.")
    max_answer_tokens: int = Field(default=1024, ge=1, description="Longest answer asked of the teacher, in tokens.")


class ConversationConfig(TaughtSection, CheckedSection):
    """The supervised fine-tuning set."""

    conversations: int = Field(default=38_400, ge=1, description="Conversations about problems; questions repeat in other styles.")
    style_weights: tuple[float, float, float] = Field(
        default=(0.25, 0.35, 0.40), description="Shares of the styles direct, brief and steps."
    )
    identity_share: float = Field(
        default=0.005, ge=0, le=0.2, description="Conversations on who the model is, as a share of `conversations`."
    )
    safety_share: float = Field(default=0.015, ge=0.01, le=0.05, description="Declined harmful requests, as a share of `conversations`.")
    harmless_share: float = Field(
        default=0.015, ge=0, le=0.2, description="Harmless chats that are answered, as a share of `conversations`."
    )
    best_of: int = Field(
        default=4, ge=1, le=64, description="Answers that a language model gives to each organic question; the best right one is kept."
    )
    best_of_temperature: float = Field(default=1.0, ge=0, le=2, description="Temperature of those answers.")
    max_answer_tokens: int = Field(default=1024, ge=1, description="Longest of those answers, in tokens.")
    decontamination: DecontaminationConfig | None = Field(
        default=None,
        exclude_if=lambda how: how is None,
        description="How imported chats are held against the benchmarks; as `curation.decontamination` says, where nothing is set.",
    )
    model_name: str = Field(default="Seedmill", min_length=1, description="What the model calls itself.")
    maker: str = Field(default="the Seedmill project", min_length=1, description="Whom the model names as its maker.")

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        if abs(sum(self.style_weights) - 1) > SHARES_TOLERANCE:
            raise ValueError(f"style_weights {self.style_weights} must sum to 1")
        return self


class SynthesisConfig(Section):
    """All of synthesis. The teacher's identity is copied into every stage that does not name its own."""

    teacher: TeacherConfig = Field(default=TeacherConfig(), description="The teacher of this recipe.")
    benchmarks: BenchmarksConfig = BenchmarksConfig()
    question_bank: QuestionBankConfig = QuestionBankConfig()
    web_rewrites: RewriteConfig = RewriteConfig()
    synthetic_documents: SyntheticConfig = SyntheticConfig()
    sft_conversations: ConversationConfig = ConversationConfig()

    @model_validator(mode="before")
    @classmethod
    def _one_teacher(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "teacher" not in values:
            return values
        identity = TeacherConfig.model_validate(values["teacher"]).identity()
        taught = ("question_bank", "web_rewrites", "synthetic_documents", "sft_conversations")
        return values | {name: _with_teacher(values.get(name, {}), identity) for name in taught}


def _with_teacher(section: Any, identity: TeacherIdentity) -> Any:
    return {"teacher": identity, **section} if isinstance(section, dict) else section
