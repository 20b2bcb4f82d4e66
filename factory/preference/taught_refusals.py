"""What the teacher writes about a trivia question (paper, section 4.4 and appendix A.1): four pieces.

A reply with the right answer, a refusal of the question, a bogus variant of it with a grade of its own, and a refusal of the
variant. The key stays the judge of what is right; a piece without the form that was asked for, or that gives the answer away in
a refusal, is a counted drop. All goes through the teacher's answer cache, so a stage that was killed pays for nothing twice.
"""

from collections.abc import Sequence
from dataclasses import replace

from factory.context import Context
from factory.preference.config import RefusalConfig
from factory.preference.trivia import Told, Trivia
from factory.preference.trivia_records import names_answer
from factory.records import folded
from factory.synthesis.answers import InvalidAnswerError, read_fields
from factory.synthesis.prompts import Prompt
from factory.synthesis.teacher import Teacher, TeacherAnswer, ask, open_teacher

LONGEST = 600
"""Characters of a reply; of a reply in a pair only the first tokens count."""
GRADES = ("1", "2", "3", "4", "5")

ANSWER = Prompt(
    "trivia-answer",
    1,
    "A trivia question and its correct answer.\n\nQuestion: {question}\nAnswer: {answer}\n\nReply to the question as a helpful "
    "assistant that knows this: one or two plain sentences that contain the answer exactly as it is written above. Form, one part:\n"
    "Response: the reply",
)
REFUSAL = Prompt(
    "trivia-refusal",
    1,
    "A trivia question.\n\nQuestion: {question}\n\nImagine a language model that does not know the answer and cannot look anything "
    "up. Write its honest reply in one or two sentences: it says that it does not know. It may add what is surely true of the matter, "
    "but makes no guess and does not hint at an answer. Form, one part:\nResponse: the reply",
)
BOGUS = Prompt(
    "trivia-bogus",
    1,
    "A trivia question.\n\nQuestion: {question}\n\nTurn it into one that sounds as plausible and that nobody can answer, by "
    "changing a name, a date or a place into one that does not exist or does not fit. Keep it serious: real countries, no jokes, no "
    "name that plays on the original one. Then grade what you wrote from 1 to 5, where 5 is plausible and far from the original. "
    "Form, two lines:\nResponse: the question\nQuality: a digit",
)


def taught(context: Context, config: RefusalConfig, trivia: Sequence[Trivia]) -> list[Trivia | None]:
    """The questions with the teacher's pieces; None where it wrote no usable replies, without a variant where that was not usable.

    What can be read off the question (a list) stays as it is. Memory: the pieces of all questions.
    """
    teacher = open_teacher(context, config.teacher)
    asked = [one for one in trivia if one.knowledge]
    answers, refusals, variants = (_pieces(context, config, teacher, prompt, asked) for prompt in (ANSWER, REFUSAL, BOGUS))
    known = {folded(one.question) for one in trivia} | {folded(row["text"]) for row in context.inputs["benchmarks"].records("problems")}
    found: list[Trivia | None] = []
    for one, answer, refusal, variant in zip(asked, answers, refusals, variants, strict=True):
        told = _told(one, answer, refusal)
        bogus = _bogus(context, config, variant, known) if told else ""
        _count(context, told is not None, "malformed answer or refusal")
        found.append(replace(one, bogus=bogus, told=told) if told else None)
    complete = iter(_with_bogus_refusals(context, config, teacher, found))
    return [next(complete) if one.knowledge else one for one in trivia]


def _pieces(context: Context, config: RefusalConfig, teacher: Teacher, prompt: Prompt, trivia: Sequence[Trivia]) -> list[TeacherAnswer]:
    requests = [
        prompt.request(
            {"question": one.question, "answer": one.answer}, max_tokens=config.max_teacher_tokens, temperature=config.teacher_temperature
        )
        for one in trivia
    ]
    return ask(context, teacher, requests)


def _told(one: Trivia, answer: TeacherAnswer, refusal: TeacherAnswer) -> Told | None:
    """The reply must state the key, the refusal must not."""
    right, refused = _response(answer), _response(refusal)
    if right is None or refused is None or not names_answer(right, one.answer) or names_answer(refused, one.answer):
        return None
    return Told(right, refused, "")


def _bogus(context: Context, config: RefusalConfig, variant: TeacherAnswer, known: set[str]) -> str:
    """The variant, good enough by the teacher's own grade and unlike every question so far; else empty, and counted."""
    try:
        text, quality = read_fields(variant.text.strip(), "Response", "Quality")
    except InvalidAnswerError:
        text, quality = "", ""
    reason = None
    if not text or len(text) > LONGEST or quality not in GRADES or not variant.complete:
        reason = "malformed bogus variant"
    elif int(quality) < config.least_quality:
        reason = "bogus variant of low quality"
    elif folded(text) in known:
        reason = "bogus variant repeats a question"
    if reason:
        context.drop(reason)
        return ""
    known.add(folded(text))
    return text


def _with_bogus_refusals(context: Context, config: RefusalConfig, teacher: Teacher, found: Sequence[Trivia | None]) -> list[Trivia | None]:
    """The refusals of the variants; a variant without one is dropped."""
    variants = [Trivia(one.bogus, "", "", "", knowledge=True) for one in found if one and one.bogus]
    replies = iter(_pieces(context, config, teacher, REFUSAL, variants))
    complete: list[Trivia | None] = []
    for one in found:
        if one is None or one.told is None or not one.bogus:
            complete.append(one)
            continue
        refusal = _response(next(replies))
        _count(context, refusal is not None, "malformed refusal of a bogus variant")
        complete.append(replace(one, bogus=one.bogus if refusal else "", told=replace(one.told, bogus_refusal=refusal or "")))
    return complete


def _response(answer: TeacherAnswer) -> str | None:
    """The text of the only part; None where the answer has another form, was cut short or is too long."""
    text = answer.text.strip()
    response = text.removeprefix("Response:").strip()
    return response if answer.complete and text.startswith("Response:") and 0 < len(response) <= LONGEST else None


def _count(context: Context, usable: bool, reason: str) -> None:
    if usable:
        context.keep()
    else:
        context.drop(reason)
