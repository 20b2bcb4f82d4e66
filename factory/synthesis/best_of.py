"""Best-of-n: a teacher answers a question several times, the oracles strike out the wrong ones, the judge picks the best.

Section 4.1 of the paper makes its fine-tuning data so. Questions of one's own have a known answer but no worked solution that a
program could write, so without a language model for a teacher they stay out of the fine-tuning set.
"""

from collections.abc import Iterator, Sequence

from factory.context import Context
from factory.preference.checker import open_grader
from factory.preference.grading import Grader, Submission
from factory.preference.rubric import Case, Judge
from factory.preference.teacher_judge import TeacherJudge
from factory.records import Record
from factory.synthesis.config import ConversationConfig
from factory.synthesis.prompts import ANSWER_QUESTION
from factory.synthesis.teacher import Teacher, ask, open_teacher

QUESTIONS_A_ROUND = 100
LONGEST_VERDICT = 2048


def best_answers(context: Context, section: ConversationConfig) -> Iterator[tuple[Record, str, str]]:
    """Each question without a worked solution, its best right answer and who wrote it; one without a right answer is dropped."""
    if section.teacher.kind == "procedural":
        return
    teacher = open_teacher(context, section.teacher)
    judge = TeacherJudge(context, teacher, LONGEST_VERDICT)
    grader = open_grader(context, section.checker)
    questions = [row for row in context.inputs["question_bank"].records("questions") if not row["solution"]]
    for start in range(0, len(questions), QUESTIONS_A_ROUND):
        group = questions[start : start + QUESTIONS_A_ROUND]
        for question, best in zip(group, _best(judge, group, _right(context, section, teacher, grader, group)), strict=True):
            if best is None:
                context.drop("no right answer")
            else:
                yield question, best, f"{teacher.model} {ANSWER_QUESTION.id}"


def _right(context: Context, section: ConversationConfig, teacher: Teacher, grader: Grader, questions: Sequence[Record]) -> list[list[str]]:
    """For each question the teacher's distinct complete answers that the grader accepts."""
    requests = [
        ANSWER_QUESTION.request(
            {"question": question["text"]}, max_tokens=section.max_answer_tokens, temperature=section.best_of_temperature, sample=sample
        )
        for question in questions
        for sample in range(section.best_of)
    ]
    replies = iter(ask(context, teacher, requests))
    drawn = [dict.fromkeys(r.text.strip() for r in (next(replies) for _ in range(section.best_of)) if r.complete) for _ in questions]
    submissions = [
        Submission(question["text"], text, question["answer"]) for question, own in zip(questions, drawn, strict=True) for text in own
    ]
    verdicts = iter(grader(submissions))
    return [[text for text in own if next(verdicts)] for own in drawn]


def _best(judge: Judge, questions: Sequence[Record], answers: Sequence[Sequence[str]]) -> list[str | None]:
    """The answer of each question that the judge scores highest over all; the first one where it says nothing usable or one is all."""
    contested = [number for number, own in enumerate(answers) if len(own) > 1]
    judgements = judge.judge_all([Case(questions[number], tuple(answers[number])) for number in contested])
    best: list[str | None] = [own[0] if own else None for own in answers]
    for number, judgement in zip(contested, judgements, strict=True):
        if judgement is not None:
            best[number] = answers[number][max(range(len(answers[number])), key=judgement.overall)]
    return best
