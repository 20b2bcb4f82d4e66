"""The question bank: training problems with known answers, disjoint from the benchmarks.

Drawn problems come from the families with an oracle. Questions of one's own (every input beside the benchmarks) join them, unless
Algorithm 1 finds them in a benchmark. Those without an answer have none to trust, so the teacher is asked several times and the
plurality decides (section 2.2 of the paper): all alike is too easy, no agreement too hard or ambiguous.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from factory.context import Context
from factory.curation.config import DecontaminationConfig
from factory.curation.contamination import Decontaminator
from factory.errors import SeedmillError
from factory.preference.oracles import VERSIONS, final_answer, plurality
from factory.records import Record, folded
from factory.schemas import PROBLEM
from factory.synthesis.config import QuestionBankConfig
from factory.synthesis.problems import TRANSFORM, draw_problems, problem_record
from factory.synthesis.prompts import ANSWER_QUESTION
from factory.synthesis.question_sources import QUESTION
from factory.synthesis.teacher import Teacher, TeacherRequest, ask, open_teacher, written_by

PLURALITY = "questions.plurality@1"
DRAWS_A_PROBLEM = 20
SAMPLING_TEMPERATURE = 0.7
QUESTIONS_A_ROUND = 1000


def run(context: Context) -> None:
    """Write `questions`: those of one's own and drawn problems, none of them a benchmark's."""
    section = context.section(QuestionBankConfig)
    benchmarks = list(context.inputs["benchmarks"].records("problems", columns=["id", "text"]))
    context.write_records("questions", _questions(context, section, benchmarks), PROBLEM)


def _questions(context: Context, section: QuestionBankConfig, benchmarks: Sequence[Record]) -> Iterator[Record]:
    banned, seen = {folded(row["text"]) for row in benchmarks}, set[str]()
    read, kept = Counter[str](), Counter[str]()
    own = (record for record in _counted(_own(context), read) if _is_new(context, record["text"], banned, seen))
    clean = _clean(context, own, lambda: Decontaminator(benchmarks, section.decontamination or DecontaminationConfig()))
    yield from _counted(_answered(context, section, clean), kept)
    _tell(context, read, kept)
    yield from _drawn(context, section, banned, seen)


def _own(context: Context) -> Iterator[Record]:
    """The questions of all sources that are not held out."""
    sources = sorted(set(context.inputs) - {"benchmarks"})
    return (row for name in sources for row in context.inputs[name].records("questions") if row["kind"] == QUESTION)


def _counted(questions: Iterator[Record], numbers: Counter[str]) -> Iterator[Record]:
    """The same questions, while `numbers` counts how many are of each source."""
    for row in questions:
        numbers[row["source"]] += 1
        yield row


def _tell(context: Context, read: Mapping[str, int], kept: Mapping[str, int]) -> None:
    """How much of each source there is in the bank: of one whose questions are benchmarks' it may be nothing."""
    if read:
        context.metrics["own_questions"] = {name: {"read": number, "kept": kept[name]} for name, number in read.items()}
        context.log("kept of " + ", ".join(f"questions/{name}: {kept[name]} of {number}" for name, number in read.items()))


def _clean(context: Context, questions: Iterator[Record], make: Callable[[], Decontaminator]) -> Iterator[Record]:
    """Without those that hold a benchmark's question. Drawn problems are not asked: all of a template share its 13-grams."""
    decontaminator: Decontaminator | None = None
    for row in questions:
        decontaminator = decontaminator or make()  # tens of kilobytes a benchmark problem: not where no question comes from outside
        verdict = decontaminator.check(row["text"])
        if verdict.contaminated:
            context.drop(verdict.verdict)
        else:
            yield row


def _drawn(context: Context, section: QuestionBankConfig, banned: set[str], seen: set[str]) -> Iterator[Record]:
    wanted = len(seen) + section.problems
    problems = draw_problems(context.random("problems"), section.step_weights)
    for problem in islice(problems, DRAWS_A_PROBLEM * section.problems):
        if _is_new(context, problem.question, banned, seen):
            context.keep()
            yield problem_record(problem, locator=f"bank/{len(seen):06d}", kind=QUESTION, created_by=TRANSFORM)
            context.progress(section.problems - wanted + len(seen), section.problems, "questions")
            if len(seen) == wanted:
                return
    raise SeedmillError(
        f"question_bank.problems is {section.problems}, but only {len(seen)} distinct questions came of {DRAWS_A_PROBLEM} times as many "
        "draws; ask for fewer or give longer problems more weight in question_bank.step_weights"
    )


def _is_new(context: Context, question: str, banned: set[str], seen: set[str]) -> bool:
    """Whether a question is neither a benchmark's nor had before; counted where it is."""
    if (key := folded(question)) in banned:
        context.drop("benchmark")
    elif key in seen:
        context.drop("duplicate")
    else:
        seen.add(key)
        return True
    return False


def _answered(context: Context, section: QuestionBankConfig, questions: Iterator[Record]) -> Iterator[Record]:
    """The questions, those without a known answer with that of the teacher's plurality; dropped where that does not inform."""
    teacher: Teacher | None = None
    while group := list(islice(questions, QUESTIONS_A_ROUND)):
        unanswered = [row for row in group if not row["answer"]]
        if unanswered:
            teacher = teacher or open_teacher(context, section.teacher)
        answers = iter(_pluralities(context, section, teacher, unanswered) if teacher else ())
        for row in group:
            answered = row if row["answer"] else next(answers)
            if answered is None:
                context.drop("no informative plurality")
            else:
                context.keep()
                yield answered


def _pluralities(context: Context, section: QuestionBankConfig, teacher: Teacher, questions: Sequence[Record]) -> Iterator[Record | None]:
    context.metrics["oracles"] = VERSIONS
    samples = range(section.plurality_samples)
    requests = [_request(row["text"], sample, section) for row in questions for sample in samples]
    texts = iter([answer.text for answer in ask(context, teacher, requests)])
    for number, row in enumerate(questions):
        answer = plurality([final_answer(next(texts)) for _ in samples])
        written = written_by(PLURALITY, teacher, requests[number * len(samples)])
        yield None if answer is None else {**row, "answer": answer, "created_by": written}


def _request(question: str, sample: int, section: QuestionBankConfig) -> TeacherRequest:
    limit = section.max_answer_tokens
    return ANSWER_QUESTION.request({"question": question}, max_tokens=limit, temperature=SAMPLING_TEMPERATURE, sample=sample)
