"""Fill-in-the-gap exercises from passages, with self-revision: draft, critique with a score, one revision of what scored low.

Sections 2.3 and D.2 of the paper in their simple form. The gap's content is the ground truth; a draft that nobody could
check (its filled text does not occur in the passage) never reaches the critic.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from factory.context import Context
from factory.records import Record, derive
from factory.synthesis.answers import Cloze, InvalidAnswerError, read_cloze, read_critique, usable_text
from factory.synthesis.config import RewriteConfig
from factory.synthesis.formats import exercise
from factory.synthesis.prompts import CRITIQUE_EXERCISE, PASSAGE_CLOZE, REVISE_EXERCISE
from factory.synthesis.teacher import Teacher, TeacherAnswer, TeacherRequest, ask, written_by

TRANSFORM = "rewrites.cloze@1"


@dataclass(frozen=True)
class Draft:
    """An exercise on its way: the passage's record and excerpt, the request that wrote it, and what came of it."""

    parent: Record
    passage: str
    request: TeacherRequest
    result: Cloze | InvalidAnswerError

    def gap(self) -> dict[str, str]:
        """The variables that show this draft to a critic or a reviser."""
        assert isinstance(self.result, Cloze)
        return {"passage": self.passage, "text": self.result.text, "missing": self.result.missing}


def exercises(context: Context, section: RewriteConfig, teacher: Teacher, passages: Sequence[tuple[Record, str]]) -> Iterator[Record]:
    """One exercise for each passage (record and excerpt) from which a sound one could be made; the rest are counted drops."""
    for draft in _revised(context, section, teacher, _drafts(context, section, teacher, passages)):
        if isinstance(draft.result, InvalidAnswerError):
            context.drop(f"exercise: {draft.result}")
            continue
        context.keep()
        context.made("exercise")
        text = exercise(f"Fill in the gap. {draft.result.text}", f"Answer: {draft.result.missing}")
        yield derive(draft.parent, text=text, kind="exercise", created_by=written_by(TRANSFORM, teacher, draft.request))


def _drafts(context: Context, section: RewriteConfig, teacher: Teacher, passages: Sequence[tuple[Record, str]]) -> list[Draft]:
    requests = [PASSAGE_CLOZE.request({"passage": passage}, max_tokens=section.max_answer_tokens) for _, passage in passages]
    answers = ask(context, teacher, requests)
    return [Draft(*pair, request, _read(answer, pair[1])) for pair, request, answer in zip(passages, requests, answers, strict=True)]


def _revised(context: Context, section: RewriteConfig, teacher: Teacher, drafts: list[Draft]) -> Iterator[Draft]:
    """All drafts in order; those that the critic scored below `revise_below` give way to their revision."""
    limit = section.max_answer_tokens
    sound = [draft for draft in drafts if isinstance(draft.result, Cloze)]
    critiques = ask(context, teacher, [CRITIQUE_EXERCISE.request(draft.gap(), max_tokens=limit) for draft in sound])
    opinions = [_opinion(answer) for answer in critiques]
    low = [(draft, suggestion) for draft, (score, suggestion) in zip(sound, opinions, strict=True) if score < section.revise_below]
    requests = [REVISE_EXERCISE.request(draft.gap() | {"suggestion": suggestion}, max_tokens=limit) for draft, suggestion in low]
    context.metrics["exercises_revised"] = len(low)
    revisions = {
        id(draft): replace(draft, request=request, result=_read(answer, draft.passage))
        for (draft, _), request, answer in zip(low, requests, ask(context, teacher, requests), strict=True)
    }
    return (revisions.get(id(draft), draft) for draft in drafts)


def _opinion(answer: TeacherAnswer) -> tuple[int, str]:
    """Score and suggestion; a critic who cannot be understood has not approved."""
    try:
        return read_critique(answer.text.strip())
    except InvalidAnswerError:
        return 1, "Check that the span is meaningful and can be reconstructed."


def _read(answer: TeacherAnswer, passage: str) -> Cloze | InvalidAnswerError:
    try:
        return read_cloze(usable_text(answer, passage), passage)
    except InvalidAnswerError as error:
        return error
