"""The stage `refusals`: teach a model to say that it does not know (paper, section 4.4 and appendix A.1).

Pretraining packs knowledge in; only the model itself shows where it ends. It is asked each question several times: what it
usually gets right it is taught to answer, what it usually gets wrong to refuse, and questions without an answer always.

One kind of pair is not the paper's: what the model states on a question without an answer loses against its refusal. Pairs that
prefer an answer to a refusal teach more than they say; without a counterweight later rounds answer what has no answer.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from factory.context import Context
from factory.errors import SeedmillError
from factory.preference import domains
from factory.preference.config import RefusalConfig
from factory.preference.models import open_sampler
from factory.preference.oracles import VERSIONS, answer_is_correct, final_answer
from factory.preference.questions import Examiner
from factory.preference.records import preference_pair
from factory.preference.rounds import Rounds
from factory.preference.taught_refusals import taught
from factory.preference.trivia import SHOWN, Trivia, about_name, draw_trivia, worded
from factory.preference.trivia_bank import draw_from_bank
from factory.preference.trivia_records import (
    EXAMPLE,
    HELD_OUT,
    KNOWLEDGE,
    LICENSE,
    TRAINING,
    base_prompt,
    kind_of,
    question_record,
    question_records,
)
from factory.records import Record, folded, new_record, record_id
from factory.sampling.api import SampleRequest
from factory.schemas import CONVERSATION, PAIR, PROBLEM
from factory.tokens.tokenizer import chatml, load

CREATED_BY = "refusals@2"


@dataclass(frozen=True)
class Asked:
    """A question with what the model answered to it."""

    trivia: Trivia
    right: int
    wrong: tuple[str, ...]
    invented: tuple[str, ...] = ()
    """Answers to the bogus variant."""

    @property
    def success(self) -> float:
        """The share of right answers."""
        return self.right / (self.right + len(self.wrong))


class Preference(NamedTuple):
    """A pair of whole replies to a question, and why one is the better."""

    question: str
    chosen: str
    rejected: str
    reason: str


def run(context: Context) -> None:
    """Write `conversations` (for fine-tuning), `pairs` (first tokens only), and the questions, held out and trained on, apart.

    `questions` are for evaluation: no conversation and no pair is about any of them. `examples` stand before each question that
    a base model is asked.
    """
    config = context.section(RefusalConfig)
    lots = context.random("trivia")
    held_out, trivia, examples = material(context, config, lots)
    examiner = Examiner(load(context.inputs["tokenizer"].path))
    asked = ask(context, config, examiner, trivia, [(one.question, one.answer) for one in examples])
    conversations = [_conversation(*turn) for one in asked for turn in lessons(one, config.usually, lots)]
    pairs = [pair for one in asked for pair in _pairs(context, one, config.pair_tokens, examiner, lots)]
    questions = [record for one in held_out for record in question_records(one, HELD_OUT, CREATED_BY)]
    trained = [record for one in trivia for record in question_records(one, TRAINING, CREATED_BY)]
    shown = [question_record(one.question, one.answer, EXAMPLE, KNOWLEDGE, CREATED_BY) for one in examples]
    context.write_records("conversations", conversations, CONVERSATION)
    context.write_records("pairs", pairs, PAIR)
    context.write_records("questions", questions, PROBLEM)
    context.write_records("trained_questions", trained, PROBLEM)
    context.write_records("examples", shown, PROBLEM)
    context.made("questions", len(questions) + len(trained))
    _report(context, asked, conversations, pairs)


def material(context: Context, config: RefusalConfig, lots: random.Random) -> tuple[list[Trivia], list[Trivia], list[Trivia]]:
    """The questions held out, those to be asked, and the examples: from the recipe's trivia or our own, in the teacher's words or ours."""
    held_out = config.held_out // 2
    number = config.questions // 2 + held_out
    if "trivia_questions" in context.inputs:
        trivia, examples = draw_from_bank(context, number, lots)
    else:
        trivia, examples = draw_trivia(number, lots), [about_name(name, "") for name in SHOWN]
        _check_disjoint(context, trivia)
    apart, asked = _unseen(context, trivia[:held_out]), trivia[held_out:]
    if config.teacher.kind != "procedural":
        told = taught(context, config, [*apart, *asked])
        apart, asked = ([one for one in part if one is not None] for part in (told[: len(apart)], told[len(apart) :]))
    if not apart or not asked:
        raise SeedmillError(
            f"refusals: no trivia is left (dropped: {context.counts.dropped}); raise `questions` and `held_out`, or mend what drops them"
        )
    return apart, asked, examples


def _unseen(context: Context, held_out: Sequence[Trivia]) -> list[Trivia]:
    """Without those that the question bank has too: pretraining and fine-tuning learn from it."""
    mine = {folded(one.question) for one in held_out}
    seen = {text for row in context.inputs["question_bank"].records("questions", columns=["text"]) if (text := folded(row["text"])) in mine}
    if seen:
        context.drop("held out but in the question bank", len(seen))
    return [one for one in held_out if folded(one.question) not in seen]


def _check_disjoint(context: Context, trivia: Sequence[Trivia]) -> None:
    texts = {text for one in trivia for text in (one.question, one.bogus)}
    for problem in context.inputs["benchmarks"].records("problems", columns=["id", "text"]):
        if problem["text"] in texts:
            raise SeedmillError(f"benchmark problem {problem['id']} is a trivia question of refusals: take it out of the benchmarks")


def ask(
    context: Context, config: RefusalConfig, examiner: Examiner, trivia: Sequence[Trivia], examples: Sequence[tuple[str, str]]
) -> list[Asked]:
    """Ask the midtrained model each question and its variant several times, in the format of its pretraining: it knows no chat."""
    rounds = Rounds(open_sampler(context, "midtrained_checkpoint", config.sampling), context.parts, context.seed)
    tokenizer = examiner.tokenizer
    settings = replace(examiner.settings(config.temperature, config.max_new_tokens), stop=(tokenizer.eod,))
    asked = [(one.question, kind_of(one)) for one in trivia] + [(one.bogus, kind_of(one)) for one in trivia if one.bogus]
    requests = [SampleRequest((tokenizer.eod, *tokenizer.encode(base_prompt(*one, examples))), config.samples) for one in asked]
    answers = [[examiner.text(c.tokens) for c in drawn] for drawn in rounds.draw(requests, settings)]
    context.progress(len(trivia), len(trivia), "questions")
    own, to_bogus = answers[: len(trivia)], iter(answers[len(trivia) :])
    return [grade(one, replies, next(to_bogus) if one.bogus else ()) for one, replies in zip(trivia, own, strict=True)]


def grade(trivia: Trivia, answers: Sequence[str], to_bogus: Sequence[str] = ()) -> Asked:
    """Count the right answers and keep what the others state; what follows as a next exercise does not count."""
    own = [answer.split("Exercise.")[0] for answer in answers]
    wrong = tuple(final_answer(answer) or "" for answer in own if not answer_is_correct(answer, trivia.answer))
    invented = tuple(final_answer(answer.split("Exercise.")[0]) or "" for answer in to_bogus)
    return Asked(trivia, len(own) - len(wrong), wrong, invented)


def lessons(asked: Asked, usually: float, lots: random.Random) -> Iterator[tuple[str, str, str]]:
    """What fine-tuning shows: (question, reply, reason). The bogus variant is refused whatever the model knows."""
    one = asked.trivia
    if asked.success >= usually:
        yield one.question, one.reply(lots), "usually correct"
    elif one.knowledge and asked.success <= 1 - usually + 1e-9:
        yield one.question, one.refusal(lots), "usually wrong"
    if one.bogus:
        yield one.bogus, one.bogus_refusal(lots), "bogus"


def preferences(asked: Asked, lots: random.Random) -> Iterator[Preference]:
    """What preference training shows. Both of the first two may hold for a question that is sometimes answered."""
    one = asked.trivia
    refusal = one.refusal(lots)
    if asked.right:
        yield Preference(one.question, one.reply(lots), refusal, "sometimes correct")
    if one.knowledge and (guess := _usual(asked.wrong)):
        yield Preference(one.question, refusal, worded(guess, lots), "sometimes wrong")
    if one.bogus and (guess := _usual(asked.invented)):
        yield Preference(one.bogus, one.bogus_refusal(lots), worded(guess, lots), "bogus")


def _usual(guesses: Sequence[str]) -> str:
    readable = Counter(guess for guess in guesses if guess and "\ufffd" not in guess)
    return readable.most_common(1)[0][0] if readable else ""


def _pairs(context: Context, asked: Asked, tokens: int, examiner: Examiner, lots: random.Random) -> Iterator[Record]:
    """The preferences in token ids, cut after the first `tokens` of each reply (paper: five); where both begin alike, no pair is left."""
    tokenizer, one = examiner.tokenizer, asked.trivia
    records = {record["text"]: record for record in question_records(one, TRAINING, CREATED_BY)}
    for question, chosen, rejected, reason in preferences(asked, lots):
        ours, theirs = ([*tokenizer.encode(reply), tokenizer.im_end][:tokens] for reply in (chosen, rejected))
        if ours == theirs:
            context.drop("replies begin alike")
            continue
        yield preference_pair(
            records[question],
            kind="refusal_pair",
            created_by=CREATED_BY,
            text=f"{question}\n+ {chosen}\n- {rejected}",
            prompt=examiner.prompt(question),
            chosen=ours,
            rejected=theirs,
            evidence=json.dumps({"reason": reason, "right": asked.right, "samples": asked.right + len(asked.wrong)}),
            domain=domains.REFUSAL,
        )


def _conversation(question: str, reply: str, reason: str) -> Record:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return new_record(
        source="trivia",
        locator=reason,
        text=chatml(messages),
        kind="conversation",
        created_by=CREATED_BY,
        license=LICENSE,
        language="en",
        parents=[record_id("trivia", TRAINING, question)],
        domain="refusal",
        messages=messages,
    )


def _report(context: Context, asked: Sequence[Asked], conversations: Sequence[Record], pairs: Sequence[Record]) -> None:
    context.made("conversations", len(conversations))
    context.made("pairs", len(pairs))
    context.metrics["oracles"] = VERSIONS
    context.metrics["lessons"] = dict(sorted(Counter(record["locator"] for record in conversations).items()))
    context.metrics["pairs"] = dict(sorted(Counter(json.loads(pair["evidence"])["reason"] for pair in pairs).items()))
    for kind, knowledge in (("names", True), ("lists", False)):
        rates = [one.success for one in asked if one.trivia.knowledge == knowledge]
        context.metrics[f"accuracy_on_{kind}"] = sum(rates) / max(1, len(rates))
