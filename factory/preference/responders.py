"""Who answers the judged questions: checkpoints at several temperatures, teachers, and the problems' own solutions."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from factory.context import Context
from factory.preference.config import JudgeConfig, Responder
from factory.preference.models import open_sampler
from factory.preference.questions import Examiner
from factory.preference.rounds import Rounds
from factory.records import Record
from factory.sampling.api import Sampler, SampleRequest
from factory.synthesis.problems.problem import STYLES, problem_of, write_solution
from factory.synthesis.prompts import ANSWER_QUESTION
from factory.synthesis.teacher import Teacher, ask, open_teacher

PROGRAM = "program"
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """An answer and who gave it."""

    responder: str
    tokens: Tokens
    text: str


def label(responder: Responder) -> str:
    """A responder's name in reports: a teacher's is its model's, so that a judge meets its own answers under its own name."""
    if responder.teacher is not None:
        return responder.teacher.model
    return PROGRAM if responder.checkpoint == PROGRAM else f"{responder.checkpoint} T={responder.temperature:g}"


class Panel:
    """All responders of a section. A checkpoint is opened once, however many temperatures it answers at."""

    def __init__(self, context: Context, config: JudgeConfig, examiner: Examiner) -> None:
        self._context, self._config, self._examiner = context, config, examiner
        engines: dict[str, Sampler] = {}
        self._rounds: dict[int, Rounds] = {}
        self._teachers: dict[int, Teacher] = {}
        for number, responder in enumerate(config.responders):
            if responder.teacher is not None:
                self._teachers[number] = open_teacher(context, responder.teacher)
            elif responder.checkpoint != PROGRAM:
                if responder.checkpoint not in engines:
                    engines[responder.checkpoint] = open_sampler(context, responder.checkpoint, config.sampling)
                engine, name = engines[responder.checkpoint], f"responder-{number}"
                self._rounds[number] = Rounds(engine, context.parts, context.seed, name)

    @property
    def decode_tokens(self) -> int:
        """Tokens that the checkpoints wrote."""
        return sum(rounds.usage.decode_tokens for rounds in self._rounds.values())

    def answers(self, questions: Sequence[Record], lots: random.Random) -> list[list[Answer]]:
        """For each question the answers of all responders that read differently, in a shuffled order.

        One text in two spellings of ids is one answer: a judge that scored it twice would prefer a spelling.
        """
        found: list[dict[str, Answer]] = [{} for _ in questions]
        for number, responder in enumerate(self._config.responders):
            for answers, own in zip(found, self._of(number, responder, questions), strict=True):
                for tokens in own:
                    text = self._examiner.text(tokens)
                    answers.setdefault(text, Answer(label(responder), tokens, text))
        return [lots.sample(list(answers.values()), len(answers)) for answers in found]

    def _of(self, number: int, responder: Responder, questions: Sequence[Record]) -> list[list[Tokens]]:
        if number in self._teachers:
            return self._taught(self._teachers[number], responder, questions)
        return self._sampled(self._rounds[number], responder, questions) if number in self._rounds else self._written(responder, questions)

    def _sampled(self, rounds: Rounds, responder: Responder, questions: Sequence[Record]) -> list[list[Tokens]]:
        settings = self._examiner.settings(responder.temperature, self._config.max_new_tokens, responder.top_p)
        requests = [SampleRequest(self._examiner.prompt(question["text"]), responder.answers) for question in questions]
        return [[completion.tokens for completion in drawn] for drawn in rounds.draw(requests, settings)]

    def _taught(self, teacher: Teacher, responder: Responder, questions: Sequence[Record]) -> list[list[Tokens]]:
        """The teacher's own answers; those that its limit of tokens cut are left out."""
        requests = [
            ANSWER_QUESTION.request(
                {"question": question["text"]},
                max_tokens=self._config.max_teacher_tokens,
                temperature=responder.temperature,
                sample=sample,
            )
            for question in questions
            for sample in range(responder.answers)
        ]
        replies = iter(ask(self._context, teacher, requests))
        drawn = [[next(replies) for _ in range(responder.answers)] for _ in questions]
        return [[self._turn(reply.text) for reply in own if reply.complete and reply.text.strip()] for own in drawn]

    def _written(self, responder: Responder, questions: Sequence[Record]) -> list[list[Tokens]]:
        """The question's own solution in different styles; none where it has no worked solution."""
        return [
            [self._turn(write_solution(problem_of(question), style)) for style in STYLES[: responder.answers]]
            if question["solution"]
            else []
            for question in questions
        ]

    def _turn(self, text: str) -> Tokens:
        tokenizer = self._examiner.tokenizer
        return (*tokenizer.encode(text.strip()), tokenizer.im_end)
