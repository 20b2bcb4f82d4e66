"""The question bank: training problems with known answers, disjoint from the benchmarks.

Drawn problems come from the families with an oracle. Organic questions (every input beside the benchmarks: records
`documents` whose text is a question) have no answer to trust, so the teacher is asked several times and the plurality
decides (section 2.2 of the paper): all alike is too easy, no agreement too hard or ambiguous, and the plurality's answer
replaces whatever the source claimed.
"""

from collections.abc import Iterator
from itertools import islice

from factory.context import Context
from factory.errors import SeedmillError
from factory.preference.oracles import VERSIONS, final_answer, plurality
from factory.records import Record, derive
from factory.schemas import PROBLEM
from factory.synthesis.config import QuestionBankConfig
from factory.synthesis.problems import TRANSFORM, draw_problems, problem_record
from factory.synthesis.prompts import ANSWER_QUESTION
from factory.synthesis.teacher import Teacher, TeacherRequest, ask, open_teacher, written_by

ORGANIC = "questions.organic@1"
DRAWS_A_PROBLEM = 20
SAMPLING_TEMPERATURE = 0.7


def run(context: Context) -> None:
    """Write `questions`: drawn problems and organic questions, none of them a benchmark's."""
    section = context.section(QuestionBankConfig)
    banned = {row["text"] for row in context.inputs["benchmarks"].records("problems", columns=["text"])}
    context.write_records("questions", _questions(context, section, banned), PROBLEM)


def _questions(context: Context, section: QuestionBankConfig, banned: set[str]) -> Iterator[Record]:
    seen: set[str] = set()
    for record in _organic(context, section):
        if _is_new(context, record["text"], banned, seen):
            yield record
    yield from _drawn(context, section, banned, seen)


def _drawn(context: Context, section: QuestionBankConfig, banned: set[str], seen: set[str]) -> Iterator[Record]:
    wanted = len(seen) + section.problems
    problems = draw_problems(context.random("problems"), section.step_weights)
    for problem in islice(problems, DRAWS_A_PROBLEM * section.problems):
        if _is_new(context, problem.question, banned, seen):
            yield problem_record(problem, locator=f"bank/{len(seen):06d}", kind="question", created_by=TRANSFORM)
            context.progress(section.problems - wanted + len(seen), section.problems, "questions")
            if len(seen) == wanted:
                return
    raise SeedmillError(
        f"question_bank.problems is {section.problems}, but only {len(seen)} distinct questions came of {DRAWS_A_PROBLEM} times as many "
        "draws; ask for fewer or give longer problems more weight in question_bank.step_weights"
    )


def _is_new(context: Context, question: str, banned: set[str], seen: set[str]) -> bool:
    """Whether a question is neither a benchmark's nor had before; counted either way."""
    if question in banned:
        context.drop("benchmark")
    elif question in seen:
        context.drop("duplicate")
    else:
        context.keep()
        seen.add(question)
        return True
    return False


def _organic(context: Context, section: QuestionBankConfig) -> Iterator[Record]:
    questions = [row for name in sorted(context.inputs) if name != "benchmarks" for row in context.inputs[name].records("documents")]
    if not questions:
        return
    teacher = open_teacher(context, section.teacher)
    context.metrics["oracles"] = VERSIONS
    requests = [_request(row["text"], sample, section) for row in questions for sample in range(section.plurality_samples)]
    texts = [answer.text for answer in ask(context, teacher, requests)]
    for index, row in enumerate(questions):
        start = index * section.plurality_samples
        answer = plurality([final_answer(text) for text in texts[start : start + section.plurality_samples]])
        if answer is None:
            context.drop("no informative plurality")
        else:
            yield _organic_question(row, answer, teacher, requests[start])


def _request(question: str, sample: int, section: QuestionBankConfig) -> TeacherRequest:
    limit = section.max_answer_tokens
    return ANSWER_QUESTION.request({"question": question}, max_tokens=limit, temperature=SAMPLING_TEMPERATURE, sample=sample)


def _organic_question(row: Record, answer: str, teacher: Teacher, request: TeacherRequest) -> Record:
    return derive(
        row,
        text=row["text"],
        kind="question",
        created_by=written_by(ORGANIC, teacher, request),
        family="organic",
        answer=answer,
        steps=[],
        solution="",
    )
