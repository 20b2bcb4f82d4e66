"""The teacher: whoever writes synthetic text. Stages ask it through one interface and cannot tell which kind answers.

There are two: any OpenAI-compatible endpoint (`factory.synthesis.endpoint`), and a program that needs no network
(`factory.synthesis.procedural`), honest about being one. Which of them wrote is in the `created_by` of every record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from factory.context import Context
from factory.digest import json_digest
from factory.synthesis.config import TeacherConfig, TeacherIdentity

CACHE_FILE = "teacher.sqlite"
REQUESTS_A_ROUND = 512


@dataclass(frozen=True)
class TeacherRequest:
    """One question to a teacher: `messages` for a language model, `variables` (what they were filled with) for a program.

    `sample` tells apart independent answers to the same messages.
    """

    prompt_id: str
    messages: tuple[tuple[str, str], ...]
    variables: Mapping[str, str]
    max_tokens: int
    temperature: float = 0.0
    sample: int = 0

    def key(self, model: str) -> str:
        """The content of the request as a hash: the same for the same question to the same model, on any machine."""
        settings = {"max_tokens": self.max_tokens, "temperature": self.temperature, "sample": self.sample}
        return json_digest({"model": model, "messages": self.messages, **settings})


@dataclass(frozen=True)
class TeacherAnswer:
    """What came back. `complete` is false where the limit on tokens cut it; tokens and `money` are what the answer cost once."""

    text: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    money: float = 0.0
    complete: bool = True
    cached: bool = False


class Teacher(Protocol):
    """Whoever answers."""

    @property
    def model(self) -> str:
        """The name that goes into `created_by`."""
        ...

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        """One answer for each request, in order. Raises `SeedmillError` when the teacher cannot go on."""
        ...


def open_teacher(context: Context, identity: TeacherIdentity) -> Teacher:
    """The teacher of a stage: its identity from the section, the way to it from the job's runtime."""
    # Imported here: the openai client takes a second to import, and most stages ask the procedural teacher.
    named = {*context.metrics.get("teacher", "").split(", "), identity.model} - {""}
    context.metrics["teacher"] = ", ".join(sorted(named))
    if identity.kind == "procedural":
        from factory.synthesis.procedural import ProceduralTeacher

        return ProceduralTeacher()
    from factory.synthesis.cache import AnswerCache
    from factory.synthesis.endpoint import EndpointTeacher

    config = TeacherConfig.model_validate({**identity.model_dump(), **context.runtime.get("teacher", {})})
    return EndpointTeacher(config, AnswerCache(context.cache / CACHE_FILE))


def ask(context: Context, teacher: Teacher, requests: Sequence[TeacherRequest], *, show: bool = True) -> list[TeacherAnswer]:
    """Ask in rounds and enter what it cost into the stage's account; an answer from the cache costs nothing.

    Progress is shown unless the stage shows its own.
    """
    answers: list[TeacherAnswer] = []
    for start in range(0, len(requests), REQUESTS_A_ROUND):
        answers += _account(context, teacher.answer(requests[start : start + REQUESTS_A_ROUND]))
        if show:
            context.progress(len(answers), len(requests), "answers", money=context.cost.money)
    return answers


def _account(context: Context, answers: list[TeacherAnswer]) -> list[TeacherAnswer]:
    fresh = [answer for answer in answers if not answer.cached]
    context.cost.teacher_requests += len(fresh)
    context.cost.teacher_cache_hits += len(answers) - len(fresh)
    context.cost.teacher_input_tokens += sum(answer.input_tokens for answer in fresh)
    context.cost.teacher_output_tokens += sum(answer.output_tokens for answer in fresh)
    context.cost.money += sum(answer.money for answer in fresh)
    return answers


def written_by(transform: str, teacher: Teacher, request: TeacherRequest) -> str:
    """The `created_by` of a record that the teacher had a part in."""
    return f"{transform} {teacher.model} {request.prompt_id}"
