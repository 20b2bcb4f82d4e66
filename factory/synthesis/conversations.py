"""The supervised fine-tuning set: problems in three styles, code for instructions, best answers, honest refusals, identity, safety.

Section 4 of the paper: ChatML only; domains mathematics, coding, reasoning, conversation, identity and safety. Chats of one's own
(inputs `chats/NAME`) join as they are, when they are clean by the same algorithm as documents. No question of a benchmark and no
held-out trivia get in, from whichever input they come.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

from factory.context import Context
from factory.curation.config import DecontaminationConfig
from factory.curation.contamination import Decontaminator
from factory.errors import SeedmillError
from factory.preference.domains import Domain, domain_of
from factory.records import Record, derive, folded, new_record
from factory.schemas import CONVERSATION
from factory.synthesis.best_of import best_answers
from factory.synthesis.chat import chat_text
from factory.synthesis.chat_bank import said
from factory.synthesis.config import ConversationConfig
from factory.synthesis.documents import endless
from factory.synthesis.formats import read_instructed_code
from factory.synthesis.persona import harmless_chats, identity_chats, safety_chats
from factory.synthesis.problems import STYLES, Style, problem_of, write_solution
from factory.synthesis.problems.problem import LICENSE

TRANSFORM = "conversations@1"
DOMAINS: dict[Domain, str] = {
    "math": "math",
    "reasoning": "reasoning",
    "multiple choice": "reasoning",
    "python": "coding",
    "other languages": "coding",
    "general": "conversation",
}


def run(context: Context) -> None:
    """Write `conversations` (CONVERSATION), grouped by where they come from; training shuffles."""
    section = context.section(ConversationConfig)
    held_out = (("benchmarks", "problems"), ("refusals", "questions"))
    banned = {folded(row["text"]) for asset, output in held_out for row in context.inputs[asset].records(output, columns=["text"])}
    rows = _clean(context, _conversations(context, section), banned)
    context.write_records("conversations", rows, CONVERSATION)


def _clean(context: Context, rows: Iterable[Record], banned: set[str]) -> Iterator[Record]:
    """Conversations in which no user puts a question that is held out; counts by domain and by language."""
    languages: Counter[str] = Counter()
    for row in rows:
        if any(message["role"] == "user" and folded(message["content"]) in banned for message in row["messages"]):
            context.drop("held out")
            continue
        context.keep()
        context.made(row["domain"])
        languages[row["language"] or "unknown"] += 1
        yield row
    context.metrics["languages"] = dict(languages.most_common())


def _conversations(context: Context, section: ConversationConfig) -> Iterator[Record]:
    yield from _problems(context, section)
    yield from _instructions(context)
    for question, answer, writer in best_answers(context, section):
        yield _conversation(question, question["text"], answer, DOMAINS[domain_of(question["family"])], f"{TRANSFORM} {writer}")
    yield from context.inputs["refusals"].records("conversations")
    persona = (
        ("identity", identity_chats(section.model_name, section.maker), section.identity_share),
        ("safety", safety_chats(), section.safety_share),
        ("conversation", harmless_chats(), section.harmless_share),
    )
    for domain, chats, share in persona:
        yield from _drawn(domain, list(chats), round(share * section.conversations), context.random(domain))
    yield from _own_chats(context, section)


def _problems(context: Context, section: ConversationConfig) -> Iterator[Record]:
    """Questions in styles drawn by weight; a question comes again only after all others, and never in a style it had."""
    random = context.random("problems")
    questions = [row for row in context.inputs["question_bank"].records("questions") if row["solution"]]
    most = len(STYLES) * len(questions)
    if section.conversations > most:
        raise SeedmillError(
            f"sft_conversations.conversations is {section.conversations}, but {len(questions)} questions give {most} at most; raise "
            "question_bank.problems or ask for fewer"
        )
    had: dict[str, list[Style]] = {}
    for _, row in zip(range(section.conversations), endless(questions, random), strict=False):
        styles = had.setdefault(row["id"], [])
        weights = [0 if style in styles else weight for style, weight in zip(STYLES, section.style_weights, strict=True)]
        style: Style = random.choices(STYLES, weights)[0] if any(weights) else next(s for s in STYLES if s not in styles)
        styles.append(style)
        solution, domain = write_solution(problem_of(row), style), DOMAINS[domain_of(row["family"])]
        yield _conversation(row, row["text"], solution, domain, f"{TRANSFORM} {style}")


def _instructions(context: Context) -> Iterator[Record]:
    for row in context.inputs["synthetic_documents"].records("documents"):
        if row["kind"] == "instruction":
            yield _conversation(row, *read_instructed_code(row["text"]), "coding", TRANSFORM)


def _own_chats(context: Context, section: ConversationConfig) -> Iterator[Record]:
    """The imported chats, each the record that it was, without a benchmark's questions (Algorithm 1); what two sets hold comes once."""
    names = sorted(name for name in context.inputs if name.startswith("chats/"))
    if not names:
        return
    problems = context.inputs["benchmarks"].records("problems", columns=["id", "text"])
    decontaminator = Decontaminator(problems, section.decontamination or DecontaminationConfig())
    seen: set[bytes] = set()
    for row in (row for name in names for row in context.inputs[name].records("conversations")):
        verdict = decontaminator.check("\n".join(message["content"] for message in row["messages"]))
        if verdict.contaminated:
            context.drop(verdict.verdict)
        elif (key := said(row)) in seen:
            context.drop("duplicate")
        else:
            seen.add(key)
            yield row


def _conversation(parent: Record, question: str, answer: str, domain: str, created_by: str) -> Record:
    messages = _turn(question, answer)
    return derive(parent, text=chat_text(messages), kind="conversation", created_by=created_by, domain=domain, messages=messages)


def _drawn(domain: str, chats: list[tuple[str, str]], number: int, random: Random) -> Iterator[Record]:
    """Up to `number` of the chats, at random; there may be fewer."""
    for index, (question, answer) in enumerate(random.sample(chats, min(number, len(chats)))):
        messages = _turn(question, answer)
        yield new_record(
            source="persona",
            locator=f"{domain}/{index:05d}",
            text=chat_text(messages),
            kind="conversation",
            created_by=TRANSFORM,
            license=LICENSE,
            language="en",
            domain=domain,
            messages=messages,
        )


def _turn(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
