"""Web rewrites: the teacher turns real passages into exercises, questions and discussions, and questions into threads.

Section 2.3 of the paper (rewrite & augment, fill-in-the-middle exercises, self-revision in its simple form: draft, critique
with a score, one revision where the score is low). Every text is validated; what fails is dropped with its reason, and a
teacher that fails too often stops the stage instead of leaving a thin corpus.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record, derive
from factory.synthesis.answers import InvalidAnswerError, read_discussion, read_problem_rewrite, read_question_and_answer, usable_text
from factory.synthesis.cloze import exercises
from factory.synthesis.config import RewriteConfig
from factory.synthesis.formats import question_and_answer
from factory.synthesis.problems import STYLES, problem_of, write_solution
from factory.synthesis.problems.story import NAMES
from factory.synthesis.prompts import PASSAGE_DISCUSSION, PASSAGE_QUESTION, QUESTION_DISCUSSION, QUESTION_FORUM
from factory.synthesis.teacher import Teacher, TeacherRequest, ask, open_teacher, written_by

PASSAGES = "rewrites.passages@1"
QUESTIONS = "rewrites.questions@1"
# Fewer failures than this say nothing about a teacher.
ENOUGH_TO_JUDGE = 50
# Weights of direct, brief and steps: a discussion mostly shows its work.
STYLE_WEIGHTS = (1, 4, 5)
SLIPS = (-2, -1, 1, 2, 10)


@dataclass(frozen=True)
class Asked:
    """One rewrite that was asked for: what it is made from, what it becomes, and how its answer is read into a text."""

    parent: Record
    kind: str
    transform: str
    request: TeacherRequest
    read: Callable[[str], str]


def run(context: Context) -> None:
    """Write `documents`: rewrites of passages (1 to 3 each) and of questions (1 each)."""
    section = context.section(RewriteConfig)
    teacher = open_teacher(context, section.teacher)
    rows = (row for row in context.inputs["seed_passages"].records("passages") if row["kind"] != "code")
    passages = [(row, _excerpt(row, section)) for row in islice(rows, section.passages)]
    context.write_records("documents", _documents(context, section, teacher, passages))
    _check_yield(context, section)


def _documents(context: Context, section: RewriteConfig, teacher: Teacher, passages: list[tuple[Record, str]]) -> Iterator[Record]:
    asked = [one for row, passage in passages for one in _passage_requests(row, passage, section.max_answer_tokens)]
    yield from _written(context, teacher, asked)
    yield from exercises(context, section, teacher, passages)
    yield from _written(context, teacher, list(_question_requests(context, section)))


def _written(context: Context, teacher: Teacher, asked: Sequence[Asked]) -> Iterator[Record]:
    """Ask, read and count; the records of all answers that hold up."""
    for one, answer in zip(asked, ask(context, teacher, [one.request for one in asked]), strict=True):
        try:
            text = one.read(usable_text(answer, one.parent["text"]))
        except InvalidAnswerError as error:
            context.drop(f"{one.kind}: {error}")
            continue
        context.keep()
        context.made(one.kind)
        yield derive(one.parent, text=text, kind=one.kind, created_by=written_by(one.transform, teacher, one.request))


def _passage_requests(row: Record, passage: str, limit: int) -> Iterator[Asked]:
    question = PASSAGE_QUESTION.request({"passage": passage}, max_tokens=limit)
    yield Asked(row, "question", PASSAGES, question, lambda text: question_and_answer(*read_question_and_answer(text)))
    talk = PASSAGE_DISCUSSION.request({"passage": passage}, max_tokens=limit)
    yield Asked(row, "discussion", PASSAGES, talk, read_discussion)


def _excerpt(row: Record, section: RewriteConfig) -> str:
    """The head of a passage, cut at white space."""
    text = row["text"][: section.passage_characters]
    return text if len(text) == len(row["text"]) else text.rpartition(" ")[0] or text


def _question_requests(context: Context, section: RewriteConfig) -> Iterator[Asked]:
    random = context.random("questions")
    rows = [row for row in context.inputs["question_bank"].records("questions") if row["solution"]]
    for row in random.sample(rows, min(section.questions, len(rows))):
        if random.random() < section.forum_share:
            yield _forum_request(row, random, section)
        else:
            yield _discussion_request(row, random, section)


def _discussion_request(row: Record, random: Random, section: RewriteConfig) -> Asked:
    asker, helper = random.sample(NAMES, 2)
    solution = write_solution(problem_of(row), random.choices(STYLES, STYLE_WEIGHTS)[0])
    variables = {"question": row["text"], "solution": solution, "answer": row["answer"], "asker": asker, "helper": helper}
    request = QUESTION_DISCUSSION.request(variables, max_tokens=section.max_answer_tokens)
    return Asked(row, "discussion", QUESTIONS, request, lambda text: read_problem_rewrite(text, row["text"], row["answer"]))


def _forum_request(row: Record, random: Random, section: RewriteConfig) -> Asked:
    """A thread as the web has them: some answers are wrong, and the record's kind says so."""
    wrong = random.random() < section.forum_noise
    answer = str(abs(int(row["answer"]) + random.choice(SLIPS))) if wrong else row["answer"]
    kind = "forum" if answer == row["answer"] else "forum_wrong"
    request = QUESTION_FORUM.request({"question": row["text"], "answer": answer}, max_tokens=section.max_answer_tokens)
    return Asked(row, kind, QUESTIONS, request, lambda text: read_problem_rewrite(text, row["text"], answer))


def _check_yield(context: Context, section: RewriteConfig) -> None:
    """Stop when too few answers could be used: a teacher that fails most of the time must not go unseen."""
    dropped, read = context.counts.read - context.counts.kept, context.counts.read
    if read >= ENOUGH_TO_JUDGE and dropped > section.max_drop_share * read:
        raise SeedmillError(
            f"{dropped} of {read} rewrites by {section.teacher.model} failed validation ({context.counts.dropped}), more than "
            f"web_rewrites.max_drop_share {section.max_drop_share:g} allows; take another teacher.model or raise the share"
        )
