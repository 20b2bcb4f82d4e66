"""What data and teacher will take: tokens in shards, bytes in the store, requests and money."""

from collections.abc import Iterator
from dataclasses import dataclass

from factory.plan.config import PlanConfig
from factory.preference.config import JudgeConfig
from factory.recipe import Recipe
from factory.synthesis.config import TeacherIdentity
from factory.tokens.config import Cluster
from factory.tokens.indexed import SMALL_VOCAB

PASSAGE_REQUESTS, REVISED_REQUESTS = 4, 5
"""Requests for each passage: question, discussion, exercise and its critique; one more where the critic asks for a revision."""
REVERSAL_REQUESTS = 2
"""An instruction for a program, and the program again from the instruction."""
TRIVIA_REQUESTS = 4
"""A reply, a refusal, a bogus variant, and a refusal of that."""
ORDERS = 2
"""A verdict on the answers as they were drawn, and one in reverse; the second only where the first chose a pair."""
LONGEST_VERDICT, LONGEST_CHECK = 2048, 1024
"""Of the judge of the best of n (`factory.synthesis.best_of`), and of a checker of answers (`factory.preference.checker`)."""
EXAMINATIONS = 2 * 5
"""Greedily and once by sampling, for five checkpoints."""


@dataclass(frozen=True)
class ClusterPlan:
    """One cluster of the mixture: tokens trained on, tokens in its shard, epochs over them, bytes of the shard."""

    cluster: Cluster
    share: float
    trained: float
    unique: float
    bytes: float

    @property
    def epochs(self) -> float:
        """How often each token is seen."""
        return self.trained / self.unique


@dataclass(frozen=True)
class TeacherPlan:
    """One stage that asks the teacher: requests (at most), tokens expected and at most, money expected; None without a price."""

    stage: str
    model: str
    requests: int
    input_tokens: float
    output_tokens: float
    most_output_tokens: float
    money: float | None


def token_bytes(vocab_size: int) -> int:
    """Bytes of one id in a shard."""
    return 2 if vocab_size < SMALL_VOCAB else 4


def clusters(recipe: Recipe, vocab_size: int) -> list[ClusterPlan]:
    """The pretraining mixture; a cluster whose size the recipe does not expect is taken to be seen once."""
    blend = recipe.pretraining_blend
    plans = []
    for cluster, share in blend.shares.items():
        trained = share * blend.total_tokens
        unique = recipe.plan.unique_tokens.get(cluster, trained)
        if share > 0:
            plans.append(ClusterPlan(cluster, share, trained, unique, unique * token_bytes(vocab_size)))
    return plans


def teacher(recipe: Recipe) -> list[TeacherPlan]:
    """The stages that ask an endpoint; a program of ours costs nothing and is left out."""
    asked = [
        *_synthesis(recipe),
        _refusals(recipe),
        *_searching(recipe),
        *_judging(recipe.preference.judge, recipe.plan),
        *_evaluating(recipe),
    ]
    return [_priced(recipe, it) for it in asked if it.requests and it.teacher.kind != "procedural"]


@dataclass(frozen=True)
class _Asked:
    """Requests of one kind: how many, the mean prompt and the longest answer, in tokens."""

    stage: str
    teacher: TeacherIdentity
    requests: int
    prompt: float
    longest: int


def _synthesis(recipe: Recipe) -> Iterator[_Asked]:
    synthesis, plan = recipe.synthesis, recipe.plan
    bank, rewrites, documents, chats = (
        synthesis.question_bank,
        synthesis.web_rewrites,
        synthesis.synthetic_documents,
        synthesis.sft_conversations,
    )
    organic = plan.organic_questions
    for stage, section, requests in (
        ("question_bank", bank, organic * bank.plurality_samples),
        ("web_rewrites", rewrites, rewrites.passages * REVISED_REQUESTS + rewrites.questions),
        ("synthetic_documents", documents, documents.program_reversals * REVERSAL_REQUESTS),
        ("sft_conversations", chats, organic * chats.best_of),
    ):
        yield _Asked(stage, section.teacher, requests, plan.teacher_input_tokens, section.max_answer_tokens)
    shown = chats.best_of * chats.max_answer_tokens * plan.teacher_fill
    verdicts = organic if chats.best_of > 1 else 0
    answer = plan.teacher_input_tokens + chats.max_answer_tokens * plan.teacher_fill
    if chats.checker:
        yield _Asked("sft_conversations, checks", chats.checker, organic * chats.best_of, answer, LONGEST_CHECK)
    yield _Asked("sft_conversations, verdicts", chats.teacher, verdicts, plan.teacher_input_tokens + shown, LONGEST_VERDICT)


def _refusals(recipe: Recipe) -> _Asked:
    """Four pieces for each trivia question; half of those that the section counts are bogus variants of the others."""
    section = recipe.preference.refusals
    teacher = section.teacher if "teacher" in section.model_fields_set else recipe.synthesis.teacher.identity()  # as the graph has it
    requests = TRIVIA_REQUESTS * (section.questions // 2 + section.held_out // 2)
    return _Asked("refusals", teacher, requests, recipe.plan.teacher_input_tokens, section.max_teacher_tokens)


def _judging(judge: JudgeConfig, plan: PlanConfig) -> Iterator[_Asked]:
    """The judge sees all answers to a question, and once more in reverse; a language model may be among those who answer."""
    shown = 0.0
    for responder in judge.responders:
        longest = judge.max_teacher_tokens if responder.teacher else judge.max_new_tokens
        shown += responder.answers * longest * plan.teacher_fill
        if responder.teacher:
            requests = judge.questions * responder.answers
            yield _Asked("judged_pairs, answers", responder.teacher, requests, plan.teacher_input_tokens, longest)
    verdicts = judge.questions * ORDERS
    yield _Asked("judged_pairs, verdicts", judge.teacher, verdicts, plan.teacher_input_tokens + shown, judge.max_teacher_tokens)


def _searching(recipe: Recipe) -> Iterator[_Asked]:
    """What the filter of the pivotal search asks, as if no oracle accepted any answer; how much the search asks then, nobody knows."""
    section = recipe.preference.pivotal
    if section.checker:
        prompt = recipe.plan.teacher_input_tokens + section.max_new_tokens * recipe.plan.teacher_fill
        checks = section.questions * section.filter_samples
        yield _Asked("pivotal_pairs, the filter's checks", section.checker, checks, prompt, LONGEST_CHECK)


def _evaluating(recipe: Recipe) -> Iterator[_Asked]:
    """All drawn problems of the benchmarks, as if no oracle accepted any answer."""
    section = recipe.evaluation
    if section.checker:
        drawn = recipe.synthesis.benchmarks.problems
        checks = EXAMINATIONS * min(section.problems or drawn, drawn)
        prompt = recipe.plan.teacher_input_tokens + section.max_new_tokens * recipe.plan.teacher_fill
        yield _Asked("evaluation, checks", section.checker, checks, prompt, LONGEST_CHECK)


def _priced(recipe: Recipe, it: _Asked) -> TeacherPlan:
    prices, most = recipe.synthesis.teacher, float(it.requests * it.longest)
    asked, answered = it.requests * it.prompt, most * recipe.plan.teacher_fill
    money = None
    if prices.price_per_million_input is not None and prices.price_per_million_output is not None:
        money = (asked * prices.price_per_million_input + answered * prices.price_per_million_output) / 1e6
    return TeacherPlan(it.stage, it.teacher.model, it.requests, asked, answered, most, money)
