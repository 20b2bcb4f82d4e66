"""A language model as the judge (paper, appendix A.2): N answers at once, reasons before scores, the verdict as JSON.

What it says counts only when it has the form that was asked for; anything else is no verdict, and its question is dropped and
counted. Requests go through the teacher's answer cache, so a stage that was killed asks nothing twice.
"""

import json
from collections.abc import Sequence

from pydantic import ValidationError

from factory.context import Context
from factory.preference.rubric import Case, Judgement
from factory.synthesis.prompts import JUDGE_ANSWERS
from factory.synthesis.teacher import Teacher, TeacherRequest, ask


class TeacherJudge:
    """The teacher, asked for verdicts; see `factory.preference.rubric.Judge`."""

    def __init__(self, context: Context, teacher: Teacher, max_tokens: int) -> None:
        self.name = teacher.model
        self._context, self._teacher, self._max_tokens = context, teacher, max_tokens

    def judge_all(self, cases: Sequence[Case]) -> list[Judgement | None]:
        """A judgement of each case, or None where the teacher's answer is not one."""
        answers = ask(self._context, self._teacher, [self._request(case) for case in cases])
        return [verdict(answer.text, len(case.answers)) for case, answer in zip(cases, answers, strict=True)]

    def _request(self, case: Case) -> TeacherRequest:
        # As JSON, no answer can end its own part and speak for another one.
        shown = json.dumps({"question": case.question["text"], "answers": list(case.answers)}, ensure_ascii=False)
        return JUDGE_ANSWERS.request({"number": str(len(case.answers)), "case": shown}, max_tokens=self._max_tokens)


def verdict(text: str, answers: int) -> Judgement | None:
    """The judgement in a teacher's answer, a fence or words around it left aside; None where it is not one of `answers` answers."""
    try:
        judgement = Judgement.model_validate_json(text[text.find("{") : text.rfind("}") + 1])
    except ValidationError:
        return None
    return judgement if len(judgement.accuracy) == answers else None
