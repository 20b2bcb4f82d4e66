"""The stage `judged_pairs`: preference pairs of whole answers, chosen by a judge (paper, section 4.2 and appendix A.2).

Several checkpoints at several temperatures answer each question; the judge sees all answers in a shuffled order and once more
in reverse. A pair that one order does not confirm is dropped, as are ties. Judges have known biases (for length, for a place,
for their own kind), so the report measures them.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from factory.context import Context
from factory.preference.config import JudgeConfig, Responder
from factory.preference.models import open_sampler
from factory.preference.questions import Examiner, domain_of, draw_questions
from factory.preference.rounds import Rounds
from factory.preference.rubric import Criterion, Judge, Judgement, RubricProgram
from factory.records import Record, new_record
from factory.sampling.api import Sampler, SampleRequest
from factory.schemas import PAIR
from factory.synthesis.problems.problem import STYLES, problem_of, write_solution
from factory.tokens.tokenizer import load

CREATED_BY = "judged_pairs@1"


@dataclass(frozen=True)
class Answer:
    """An answer and who gave it."""

    responder: str
    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Choice:
    """Two answers by their places in the shown order, and what they were compared by."""

    criterion: Criterion
    chosen: int
    rejected: int


@dataclass
class Report:
    """What the judge did, for `judge.json`."""

    judge: str
    questions: int = 0
    ties: int = 0
    compared: int = 0
    confirmed_by_swap: int = 0
    by_criterion: Counter[str] = field(default_factory=Counter)
    longer_chosen: int = 0
    earlier_chosen: int = 0
    chosen_tokens: int = 0
    rejected_tokens: int = 0
    shown: Counter[str] = field(default_factory=Counter)
    chosen: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)


def run(context: Context) -> None:
    """Write `pairs` (whole answers, then the refusal pairs) and the report `judge.json`."""
    config = context.section(JudgeConfig)
    examiner = Examiner(load(context.inputs["tokenizer"].path))
    bench = JudgesBench(context, config, examiner, RubricProgram())
    questions = draw_questions(context, config.questions)
    pairs = list(bench.pairs(questions))
    refusals = list(context.inputs["refusals"].records("pairs"))
    context.keep(len(refusals))
    context.made("pairs", len(pairs))
    context.write_records("pairs", [*pairs, *refusals], PAIR)
    report = {**summary(bench.report), "pairs": len(pairs), "decode_tokens": bench.decode_tokens}
    context.metrics.update(report)
    context.write_json("judge.json", report)


class JudgesBench:
    """Asks the responders, has their answers judged, and counts."""

    def __init__(self, context: Context, config: JudgeConfig, examiner: Examiner, judge: Judge) -> None:
        self.report = Report(judge.name)
        self._context, self._config, self._examiner, self._judge = context, config, examiner, judge
        self._lots = context.random("judging")
        self._rounds = self._responders()

    @property
    def decode_tokens(self) -> int:
        """Tokens that the checkpoints wrote."""
        return sum(rounds.usage.decode_tokens for rounds in self._rounds.values())

    def pairs(self, questions: Sequence[Record]) -> Iterator[Record]:
        """The pair records of all questions, round by round."""
        size = self._config.round_questions
        for start in range(0, len(questions), size):
            group = questions[start : start + size]
            for question, answers in zip(group, self._answers(group), strict=True):
                pair = self._pair(question, answers)
                if pair is not None:
                    yield pair
            self._context.progress(start + len(group), len(questions), "questions")

    def _responders(self) -> dict[int, Rounds]:
        """One series of rounds for each responder that is a checkpoint; a checkpoint is opened once."""
        engines: dict[str, Sampler] = {}
        series: dict[int, Rounds] = {}
        for number, responder in enumerate(self._config.responders):
            if responder.checkpoint != "program":
                if responder.checkpoint not in engines:
                    engines[responder.checkpoint] = open_sampler(self._context, responder.checkpoint, self._config.sampling)
                name = f"responder-{number}"
                series[number] = Rounds(engines[responder.checkpoint], self._context.parts, self._context.seed, name)
        return series

    def _answers(self, questions: Sequence[Record]) -> list[list[Answer]]:
        """For each question the distinct answers of all responders, in a shuffled order."""
        found: list[dict[tuple[int, ...], Answer]] = [{} for _ in questions]
        for number, responder in enumerate(self._config.responders):
            drawn = self._sampled(questions, number, responder) if number in self._rounds else self._written(questions, responder)
            for answers, own in zip(found, drawn, strict=True):
                for tokens in own:
                    answers.setdefault(tokens, Answer(label(responder), tokens, self._examiner.text(tokens)))
        return [self._lots.sample(list(answers.values()), len(answers)) for answers in found]

    def _sampled(self, questions: Sequence[Record], number: int, responder: Responder) -> list[list[tuple[int, ...]]]:
        settings = self._examiner.settings(responder.temperature, self._config.max_new_tokens)
        requests = [SampleRequest(self._examiner.prompt(question["text"]), responder.answers) for question in questions]
        return [[completion.tokens for completion in drawn] for drawn in self._rounds[number].draw(requests, settings)]

    def _written(self, questions: Sequence[Record], responder: Responder) -> list[list[tuple[int, ...]]]:
        """The question's own solution in different styles; none where it has no worked solution."""
        tokenizer = self._examiner.tokenizer
        return [
            [(*tokenizer.encode(write_solution(problem_of(question), style)), tokenizer.im_end) for style in STYLES[: responder.answers]]
            if question["solution"]
            else []
            for question in questions
        ]

    def _pair(self, question: Record, answers: Sequence[Answer]) -> Record | None:
        """The pair of one question, or None with the reason counted."""
        self.report.questions += 1
        self.report.shown.update(answer.responder for answer in answers)
        texts = [answer.text for answer in answers]
        judgement = self._judge.judge(question, texts)
        criterion = "accuracy" if self._lots.random() < self._config.accuracy_share else "overall"
        choice = choose(judgement, criterion, self._config.margin, self._lots)
        if choice is None:
            self.report.ties += 1
            self._context.drop("tie")
            return None
        self.report.compared += 1
        if not confirms(self._judge.judge(question, texts[::-1]), choice):
            self._context.drop("order of answers decided")
            return None
        self._context.keep()
        self._count(choice, answers)
        return self._record(question, answers, judgement, choice)

    def _count(self, choice: Choice, answers: Sequence[Answer]) -> None:
        chosen, rejected, report = answers[choice.chosen], answers[choice.rejected], self.report
        report.confirmed_by_swap += 1
        report.by_criterion[choice.criterion] += 1
        report.longer_chosen += len(chosen.tokens) > len(rejected.tokens)
        report.earlier_chosen += choice.chosen < choice.rejected
        report.chosen_tokens += len(chosen.tokens)
        report.rejected_tokens += len(rejected.tokens)
        report.chosen[chosen.responder] += 1
        report.rejected[rejected.responder] += 1

    def _record(self, question: Record, answers: Sequence[Answer], judgement: Judgement, choice: Choice) -> Record:
        chosen, rejected = answers[choice.chosen], answers[choice.rejected]
        evidence = {
            "judge": self._judge.name,
            "criterion": choice.criterion,
            "chosen": _said(judgement, choice.chosen, chosen),
            "rejected": _said(judgement, choice.rejected, rejected),
            "faults_discussion": judgement.faults_discussion,
        }
        return new_record(
            source=question["source"],
            locator=question["locator"],
            text=f"{question['text']}\n+ {chosen.text}\n- {rejected.text}",
            kind="judged_answers",
            created_by=f"{CREATED_BY} {self._judge.name}",
            license=question["license"],
            language=question["language"],
            parents=[question["id"]],
            domain=domain_of(question["family"]),
            question=question["id"],
            prompt=list(self._examiner.prompt(question["text"])),
            chosen=list(chosen.tokens),
            rejected=list(rejected.tokens),
            evidence=json.dumps(evidence),
        )


def label(responder: Responder) -> str:
    """A responder's name in reports."""
    return responder.checkpoint if responder.checkpoint == "program" else f"{responder.checkpoint} T={responder.temperature:g}"


def choose(judgement: Judgement, criterion: Criterion, margin: float, lots: random.Random) -> Choice | None:
    """The best and the worst answer by one criterion; None when they differ by less than `margin`.

    Among equals the overall score decides, then the lot: a fixed rule would favour a place.
    """
    ranked = sorted(
        range(len(judgement.accuracy)),
        key=lambda answer: (judgement.score(answer, criterion), judgement.overall(answer), lots.random()),
    )
    if not ranked or judgement.score(ranked[-1], criterion) - judgement.score(ranked[0], criterion) < margin - 1e-9:
        return None
    return Choice(criterion, chosen=ranked[-1], rejected=ranked[0])


def confirms(reversed_order: Judgement, choice: Choice) -> bool:
    """Whether the judgement of the same answers in reverse order prefers the same one."""
    last = len(reversed_order.accuracy) - 1
    chosen, rejected = (reversed_order.score(last - place, choice.criterion) for place in (choice.chosen, choice.rejected))
    return chosen > rejected


def _said(judgement: Judgement, place: int, answer: Answer) -> dict[str, object]:
    """What the judge said of one answer: its faults first, then the scores."""
    return {
        "responder": answer.responder,
        "faults": judgement.faults[place],
        "accuracy": judgement.accuracy[place],
        "style": judgement.style[place],
        "detail": judgement.detail[place],
        "overall": judgement.overall(place),
    }


def summary(report: Report) -> dict[str, object]:
    """The report with its rates: position-swap consistency, and the biases for length, place and responder."""
    pairs = max(1, report.confirmed_by_swap)
    rates = {
        "swap_consistency": report.confirmed_by_swap / max(1, report.compared),
        "length_bias": report.longer_chosen / pairs,
        "position_bias": report.earlier_chosen / pairs,
        "win_rate": {name: report.chosen[name] / max(1, report.chosen[name] + report.rejected[name]) for name in sorted(report.shown)},
    }
    return {**vars(report), **rates}
