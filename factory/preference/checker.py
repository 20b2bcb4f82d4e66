"""A language model as the oracle of last resort: does a submission match the key (paper, appendix A.1)?

An oracle compares stated answers by rule and knows no other words for one: `the City of Light` is no `Paris` to it. The
checker is shown question, key and submission, is told not to solve anything, discusses freely, and says True, False or
Uncertain as JSON. Only True counts as right; Uncertain and whatever is no verdict are counted, and never taken for one.
Requests go through the teacher's answer cache and budget.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from factory.context import Context
from factory.preference.grading import Grader, Submission, by_oracles
from factory.synthesis.config import TeacherIdentity
from factory.synthesis.prompts import CHECK_ANSWER
from factory.synthesis.teacher import Teacher, TeacherAnswer, TeacherRequest, ask, open_teacher

Match = Literal["oracle", "true", "false", "uncertain", "malformed"]
RIGHT: frozenset[Match] = frozenset({"oracle", "true"})
_OBJECT = re.compile(r"\{[^{}]*\}")
LONGEST_CHECK = 1024
"""Of a check's reply, in tokens."""


def open_grader(context: Context, checker: TeacherIdentity | None) -> Grader:
    """The oracles, and behind them the checker that a recipe names."""
    return by_oracles if checker is None else Checker(context, open_teacher(context, checker), LONGEST_CHECK).grade


class Checker:
    """Asks the teacher about what the oracles do not accept; what it said is added to the stage's metrics as `checker`."""

    def __init__(self, context: Context, teacher: Teacher, max_tokens: int) -> None:
        self._context, self._teacher, self._max_tokens = context, teacher, max_tokens

    def grade(self, submissions: Sequence[Submission]) -> list[bool]:
        """A `Grader`."""
        return [match in RIGHT for match in self.check(submissions)]

    def check(self, submissions: Sequence[Submission]) -> list[Match]:
        """What is said of each: `oracle` where no question was needed, `false` also where there is nothing to ask about."""
        accepted = by_oracles(submissions)
        open_ = list(dict.fromkeys(one for one, right in zip(submissions, accepted, strict=True) if not right and _askable(one)))
        answers = ask(self._context, self._teacher, [self._request(one) for one in open_], show=False)
        said: dict[Submission, Match] = {one: verdict(answer) for one, answer in zip(open_, answers, strict=True)}
        found: list[Match] = [_match(right, said.get(one)) for one, right in zip(submissions, accepted, strict=True)]
        counts = Counter(found) + Counter(self._context.metrics.get("checker", {}))
        self._context.metrics["checker"] = dict(sorted(counts.items()))
        return found

    def _request(self, one: Submission) -> TeacherRequest:
        # As JSON, a submission cannot end its own part and speak for the checker.
        case = {"question": one.question, "key": one.key, "other_forms": list(one.alternates), "submission": one.text}
        return CHECK_ANSWER.request({"case": json.dumps(case, ensure_ascii=False)}, max_tokens=self._max_tokens)


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")
    matches_key: StrictBool | Literal["True", "False", "Uncertain"]


def verdict(answer: TeacherAnswer) -> Match:
    """The verdict that ends a checker's reply; `malformed` where its last JSON object is none, or where the reply was cut short."""
    objects = _OBJECT.findall(answer.text)
    if not answer.complete or not objects:
        return "malformed"
    try:
        reply = _Reply.model_validate_json(objects[-1])
    except ValidationError:
        return "malformed"
    verdicts: dict[str, Match] = {"True": "true", "False": "false", "Uncertain": "uncertain"}
    return verdicts[str(reply.matches_key)]


def _match(right: bool, said: Match | None) -> Match:
    return "oracle" if right else said or "false"


def _askable(one: Submission) -> bool:
    """Whether there is a key and an answer; tests of code have the last word themselves."""
    return bool(one.text.strip() and one.key.strip()) and not one.tested
