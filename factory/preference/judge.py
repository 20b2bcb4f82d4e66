"""The stage `judged_pairs`: preference pairs of whole answers, chosen by a judge (paper, section 4.2 and appendix A.2).

Several responders answer each question; the judge sees all answers in a shuffled order and once more in reverse. A pair that
one order does not confirm is dropped, as are ties and verdicts that are none. Judges have known biases, so the report measures
them.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.context import Context
from factory.preference import domains
from factory.preference.bias import Report, Side, summary
from factory.preference.config import JudgeConfig
from factory.preference.mixture import Chosen, beside, criteria, mixed
from factory.preference.oracles import VERSIONS, answer_is_correct
from factory.preference.questions import Examiner, draw_questions, fitting
from factory.preference.records import preference_pair
from factory.preference.responders import Answer, Panel
from factory.preference.rubric import Case, Criterion, Judge, Judgement, RubricProgram
from factory.preference.safety import safety_pairs
from factory.preference.teacher_judge import TeacherJudge
from factory.records import Record
from factory.schemas import PAIR, PROBLEM
from factory.synthesis.teacher import open_teacher
from factory.tokens.tokenizer import load

CREATED_BY = "judged_pairs@2"


@dataclass(frozen=True)
class Choice:
    """Two answers by their places in the shown order, and what they were compared by."""

    criterion: Criterion
    chosen: int
    rejected: int


@dataclass(frozen=True)
class Compared:
    """A question with its answers, what the judge said of them, and the pair that it chose of them."""

    case: Case
    answers: Sequence[Answer]
    judgement: Judgement
    choice: Choice


def run(context: Context) -> None:
    """Write `pairs` (judged whole answers, then those on what is unknown or unsafe), their `requests`, and the report `judge.json`."""
    config = context.section(JudgeConfig)
    examiner = Examiner(load(context.inputs["tokenizer"].path))
    bench = JudgesBench(context, config, examiner, open_judge(context, config))
    questions = fitting(context, draw_questions(context, config.questions), examiner, config.max_new_tokens)
    confirmed = list(bench.pairs(questions))
    chosen = mixed(confirmed, config.accuracy_share)
    _count(context, len(chosen), len(confirmed) - len(chosen), "beyond the share of its criterion")
    requests, others = unknown_and_unsafe(context, config, examiner, len(chosen))
    context.made("pairs", len(chosen))
    context.write_records("pairs", [*(pair for _, pair in chosen), *others], PAIR)
    context.write_records("requests", requests, PROBLEM)
    mixture = Counter([criterion for criterion, _ in chosen] + [domains.REFUSAL for _ in others])
    report = {**summary(bench.report), "pairs": len(chosen), "mixture": dict(mixture), "decode_tokens": bench.panel.decode_tokens}
    context.metrics.update(report, oracles=VERSIONS)
    context.write_json("judge.json", report)


def unknown_and_unsafe(context: Context, config: JudgeConfig, examiner: Examiner, judged: int) -> tuple[list[Record], list[Record]]:
    """The requests of safety pairs, and the pairs of the domain `unknown + safety` that go beside so many judged ones."""
    lots = context.random("unknown")
    refusals = list(context.inputs["refusals"].records("pairs"))
    kept, safe = beside(judged, len(refusals), config.unknown_share, config.safety_share)
    _count(context, kept, len(refusals) - kept, "beyond the share of the unknown")
    drawn = [refusals[place] for place in sorted(lots.sample(range(len(refusals)), kept))]
    safety = list(safety_pairs(safe, examiner, lots))
    return [request for request, _ in safety], [*drawn, *(pair for _, pair in safety)]


def _count(context: Context, kept: int, dropped: int, reason: str) -> None:
    context.keep(kept)
    if dropped:
        context.drop(reason, dropped)


def open_judge(context: Context, config: JudgeConfig) -> Judge:
    """The rubric as a program where the section names no language model."""
    if config.teacher.kind == "procedural":
        return RubricProgram()
    return TeacherJudge(context, open_teacher(context, config.teacher), config.max_teacher_tokens)


class JudgesBench:
    """Has the panel's answers judged, and counts."""

    def __init__(self, context: Context, config: JudgeConfig, examiner: Examiner, judge: Judge) -> None:
        self.report = Report(judge.name)
        self.panel = Panel(context, config, examiner)
        self._context, self._config, self._examiner, self._judge = context, config, examiner, judge
        self._lots = context.random("judging")
        self._chosen: Counter[Criterion] = Counter()

    def pairs(self, questions: Sequence[Record]) -> Iterator[Chosen]:
        """The pair records of all questions with what they were chosen by, round by round."""
        size = self._config.round_questions
        for start in range(0, len(questions), size):
            group = questions[start : start + size]
            yield from self._confirmed(self._compared(group))
            self._context.progress(start + len(group), len(questions), "questions")

    def _compared(self, questions: Sequence[Record]) -> list[Compared]:
        """The pairs that the judge chooses in the first order; what comes to none is dropped with its reason."""
        asked = list(self._contested(questions, self.panel.answers(questions, self._lots)))
        cases = [Case(question, tuple(a.text for a in answers)) for question, answers in asked]
        found: list[Compared] = []
        for case, (_, answers), judgement in zip(cases, asked, self._judge.judge_all(cases), strict=True):
            choice = None if judgement is None else self._choice(judgement)
            if judgement is None:
                self._malformed()
            elif choice is None:
                self.report.ties += 1
                self._context.drop("tie")
            else:
                self._chosen[choice.criterion] += 1
                self.report.compare(earlier=choice.chosen < choice.rejected)
                found.append(Compared(case, answers, judgement, choice))
        return found

    def _contested(self, questions: Sequence[Record], panel: Sequence[Sequence[Answer]]) -> Iterator[tuple[Record, Sequence[Answer]]]:
        """The questions with two answers or more: a judge that is paid is not asked to compare one."""
        for question, answers in zip(questions, panel, strict=True):
            self.report.questions += 1
            self.report.shown.update(answer.responder for answer in answers)
            if len(answers) > 1:
                yield question, answers
            else:
                self._context.drop("all answered alike")

    def _choice(self, judgement: Judgement) -> Choice | None:
        """A pair by the criterion that has too few pairs so far, else by the other: by accuracy, good models tie most of the time."""
        for criterion in criteria(self._chosen, self._config.accuracy_share):
            if choice := choose(judgement, criterion, self._config.margin, self._lots):
                return choice
        return None

    def _confirmed(self, compared: Sequence[Compared]) -> Iterator[Chosen]:
        """The records of the pairs that the reverse order confirms."""
        reverse = self._judge.judge_all([Case(one.case.question, one.case.answers[::-1]) for one in compared])
        for one, judgement in zip(compared, reverse, strict=True):
            if judgement is None:
                self._malformed()
            elif not confirms(judgement, one.choice):
                self._context.drop("order of answers decided")
            else:
                self.report.confirm(one.choice.criterion, *(_side(one, place) for place in (one.choice.chosen, one.choice.rejected)))
                yield one.choice.criterion, self._record(one)

    def _malformed(self) -> None:
        self.report.malformed += 1
        self._context.drop("malformed verdict")

    def _record(self, one: Compared) -> Record:
        question, choice = one.case.question, one.choice
        chosen, rejected = one.answers[choice.chosen], one.answers[choice.rejected]
        evidence = {
            "judge": self._judge.name,
            "criterion": choice.criterion,
            "chosen": _said(one.judgement, choice.chosen, chosen),
            "rejected": _said(one.judgement, choice.rejected, rejected),
            "faults_discussion": one.judgement.faults_discussion,
        }
        return preference_pair(
            question,
            kind="judged_answers",
            created_by=f"{CREATED_BY} {self._judge.name}",
            text=f"{question['text']}\n+ {chosen.text}\n- {rejected.text}",
            prompt=self._examiner.prompt(question["text"]),
            chosen=chosen.tokens,
            rejected=rejected.tokens,
            evidence=json.dumps(evidence),
        )


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


def _side(one: Compared, place: int) -> Side:
    answer = one.answers[place]
    return Side(answer.responder, len(answer.tokens), answer_is_correct(answer.text, one.case.question["answer"]))


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
