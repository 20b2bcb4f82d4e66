"""The grader's word on drawn answers: a round's are graded together, each once, and committed, so that a resumed search asks nothing again.

A tree of a search asks for one verdict at a time. Answers that code or a language model has to grade take a tenth of a second each,
and are many: so all that a round drew are graded as they come, side by side.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from factory.context import Context
from factory.digest import canonical_json
from factory.parts import sealed, unsealed
from factory.preference.grading import Grader, Submission
from factory.preference.questions import Examiner
from factory.preference.search import Draw
from factory.preference.tree import Grade
from factory.records import Record
from factory.sampling.api import Completion, SampleRequest
from factory.spec import Cost

Asked = tuple[str, str]
"""A question's id, and an answer's text."""


class _Round(BaseModel):
    """A round's verdicts and what they took: in its part, what was paid outlives the attempt that paid it."""

    asked: str
    right: list[bool]
    cost: Cost = Cost()
    checked: Counter[str] = Counter()


class Verdicts:
    """Whether answers of up to `longest` tokens are right; longer ones are cut there."""

    def __init__(self, examiner: Examiner, grader: Grader, context: Context, name: str, longest: int) -> None:
        self._examiner, self._grader, self._context, self._longest = examiner, grader, context, longest
        self._prefix = f"{name}-" if name else ""
        self._questions: dict[str, Record] = {}
        self._prompts: dict[tuple[int, ...], str] = {}
        self._known: dict[bytes, bool] = {}  # by hashes: the texts of all that a group draws would fill gigabytes
        self._rounds = 0

    def of(self, question: Record) -> Grade:
        """The oracle of one question; what `watching` draws for it is graded from then on."""
        self._questions[question["id"]] = question
        self._prompts[self._examiner.prompt(question["text"])] = question["id"]
        return lambda answer: self._said(self._asked(question["id"], answer))

    def watching(self, draw: Draw) -> Draw:
        """The same draw, with all its answers graded."""

        def drawn(requests: Sequence[SampleRequest]) -> list[list[Completion]]:
            answers = draw(requests)
            self._grade_round(requests, answers)
            return answers

        return drawn

    def _said(self, asked: Asked) -> bool:
        key = _key(asked)
        if key not in self._known:
            self._known[key] = self._grader([self._submission(asked)])[0]
        return self._known[key]

    def _grade_round(self, requests: Sequence[SampleRequest], answers: Sequence[Sequence[Completion]]) -> None:
        whole = {_key(asked): asked for asked in self._whole(requests, answers)}
        new = {key: asked for key, asked in whole.items() if key not in self._known}
        self._rounds += 1
        part = f"{self._prefix}verdicts-{self._rounds:05d}.json"
        self._known.update(zip(new, self._committed(part, list(new.values())), strict=True))

    def _committed(self, part: str, asked: Sequence[Asked]) -> list[bool]:
        """The verdicts of a round: from its part where an attempt finished it, else asked for and committed."""
        digest = hashlib.sha256(canonical_json(asked)).hexdigest()
        path = self._context.parts.find(part)
        kept = None if path is None else unsealed(path)
        if kept is not None and (found := _Round.model_validate_json(kept)).asked == digest:
            self._enter(found)
            return found.right
        found = self._graded(digest, asked)
        with self._context.parts.writing(part) as path:
            path.write_bytes(sealed(part, found.model_dump_json().encode()))
        return found.right

    def _graded(self, digest: str, asked: Sequence[Asked]) -> _Round:
        """The verdicts of the grader, who enters what they take into an account that is empty before."""
        context = self._context
        before = _Round(asked="", right=[], cost=context.cost, checked=context.metrics.pop("checker", {}))
        context.cost = Cost()
        right = self._grader([self._submission(one) for one in asked])
        found = _Round(asked=digest, right=right, cost=context.cost, checked=context.metrics.get("checker", {}))
        self._enter(before)
        return found

    def _enter(self, paid: _Round) -> None:
        """Add what a round took to the stage's account."""
        self._context.cost += paid.cost
        if checked := paid.checked + Counter(self._context.metrics.get("checker", {})):
            self._context.metrics["checker"] = dict(sorted(checked.items()))

    def _whole(self, requests: Sequence[SampleRequest], answers: Sequence[Sequence[Completion]]) -> Iterator[Asked]:
        """The whole answers that a round's rollouts complete."""
        for request, own in zip(requests, answers, strict=True):
            identity, begun = self._question(request.prompt)
            for completion in own:
                yield self._asked(identity, (*begun, *completion.tokens))

    def _question(self, prompt: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """The question that a prompt puts, and the answer that it begins. No prompt of a question begins another's: each ends its turn."""
        for size in {len(known) for known in self._prompts}:
            if (identity := self._prompts.get(prompt[:size])) is not None:
                return identity, prompt[size:]
        raise KeyError("a prompt of no known question")

    def _asked(self, identity: str, answer: tuple[int, ...]) -> Asked:
        return identity, self._examiner.text(answer[: self._longest])

    def _submission(self, asked: Asked) -> Submission:
        question = self._questions[asked[0]]
        return Submission(question["text"], asked[1], question["answer"])


def _key(asked: Asked) -> bytes:
    return hashlib.blake2b("\x1f".join(asked).encode(), digest_size=16).digest()
