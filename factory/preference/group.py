"""The search of one group of questions: filter, search, verification, pairs.

What it finds is a function of the group's questions and number alone, so groups can be searched by any rank, in any order.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial

from pydantic import BaseModel

from factory.context import Context
from factory.preference.checker import open_grader
from factory.preference.config import PivotalSearchConfig
from factory.preference.models import open_sampler
from factory.preference.pairs import pair_record, pairs_of
from factory.preference.questions import Examiner
from factory.preference.rounds import Rounds
from factory.preference.search import Branch, Rules, explore
from factory.preference.tree import AnswerTree, Node, Tally
from factory.preference.verdicts import Verdicts
from factory.preference.verify import Reliability, Tested, Trial, verify
from factory.records import Record
from factory.sampling.api import Completion, SampleRequest
from factory.spec import Cost
from factory.tokens.tokenizer import load

Progress = Callable[[float], None]


class Answer(BaseModel):
    """A searched answer with verified pivots: `success[i]` is p(success) before token i, None where nothing was sampled."""

    question: Record
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    success: tuple[float | None, ...]
    pivots: tuple[int, ...]
    """The positions of the verified pivots."""

    @property
    def right(self) -> bool:
        """The oracle's verdict of the whole answer."""
        return self.success[-1] == 1.0


class Found(BaseModel):
    """What the search of a group found, as its part holds it."""

    asked: str
    counts: Counter[str] = Counter()
    """Of questions, answers, pivots and of the sampler's tokens and rounds: the sums of `pivots.json`."""
    dropped: Counter[str] = Counter()
    checked: Counter[str] = Counter()
    """What a checker said, where one was asked."""
    cost: Cost = Cost()
    errors: Reliability = Reliability()
    pairs: list[Record] = []
    answers: list[Answer] = []


class GroupSearch:
    """One group's search, and what it has counted so far."""

    def __init__(self, searcher: "Searcher", number: int, asked: str, progress: Progress) -> None:
        self.config, self.examiner, self._progress = searcher.config, searcher.examiner, progress
        self._trial = trial(self.config)
        self._rounds = Rounds(searcher.sampler, searcher.context.parts, searcher.context.seed, f"group-{number:05d}")
        self._verdicts = searcher.verdicts(f"group-{number:05d}")
        self._draw = self._verdicts.watching(partial(self._rounds.draw, settings=searcher.settings))
        self._roots = searcher.context.random(f"searched answers of group {number}")
        self._found = Found(asked=asked)

    def run(self, questions: Sequence[Record]) -> Found:
        """Search the questions to the end."""
        found = self._found
        kept = list(self._in_window(questions))
        branches = [branch for _, own in kept for branch in own]
        for undecided in explore(branches, rules(self.config), self._draw):
            self._progress(1 - undecided / len(branches))
        found.counts["searched_answers"] = len(branches)
        tests = verify([pivot for branch in branches for pivot in branch.pivots], self._trial, self._draw)
        by_tree = {id(branch.tree): question for question, own in kept for branch in own}
        found.pairs = self._paired(tests, by_tree)
        found.errors = Reliability.of(tests, self._trial, sum(branch.given_up for branch in branches))
        found.answers = list(_with_pivots(branches, by_tree, tests))
        found.counts.update(asdict(self._rounds.usage), rounds=self._rounds.done)
        return found

    def _in_window(self, questions: Sequence[Record]) -> Iterator[tuple[Record, list[Branch]]]:
        """The questions that are neither solved nor hopeless, each with the answers to search (paper: 0.2 to 0.8)."""
        config, found = self.config, self._found
        prompts = [self.examiner.prompt(question["text"]) for question in questions]
        grades = [self._verdicts.of(question) for question in questions]
        answers = self._draw([SampleRequest(prompt, config.filter_samples) for prompt in prompts])
        found.counts["questions"] = len(questions)
        for question, prompt, grade, drawn in zip(questions, prompts, grades, answers, strict=True):
            tree = AnswerTree(prompt, grade, longest=config.max_new_tokens, stop=self.examiner.stop)
            success = sum(tree.grade(tree.root, answer) for answer in drawn) / len(drawn)
            if config.lowest_success <= success <= config.highest_success:
                found.counts["kept_questions"] += 1
                yield question, plant(tree, drawn, config.roots, self._roots, reuse=config.reuse)
            else:
                found.dropped["too easy" if success > config.highest_success else "too hard"] += 1

    def _paired(self, tests: Sequence[Tested], by_tree: dict[int, Record]) -> list[Record]:
        pairs = pairs_of(tests, self.config.gap)
        failed = sum(not test.holds for test in tests)
        unpaired = len(tests) - failed - len(pairs)
        self._found.counts.update(pivots=len(tests), failed_verification=failed, unpaired_or_repeated_pivots=unpaired)
        return [pair_record(pair, by_tree[id(pair.test.pivot.tree)], self.examiner) for pair in pairs]


def rules(config: PivotalSearchConfig) -> Rules:
    """How the search decides, by the recipe."""
    return Rules(
        config.samples, config.gap, config.most_samples, config.miss, propose=config.propose, prune=config.prune, reuse=config.reuse
    )


def trial(config: PivotalSearchConfig) -> Trial:
    """How pivots are verified, by the recipe."""
    return Trial(config.gap, config.error_rate, config.verification_samples, config.most_verification_samples)


class Searcher:
    """What the searches of all groups share."""

    def __init__(self, context: Context, config: PivotalSearchConfig) -> None:
        self.context, self.config = context, config
        self.examiner = Examiner(load(context.inputs["tokenizer"].path))
        self.sampler = open_sampler(context, "sft_checkpoint", config.sampling)
        self.settings = self.examiner.settings(config.temperature, config.max_new_tokens, config.top_p)
        self._grader = open_grader(context, config.checker)

    def verdicts(self, name: str) -> Verdicts:
        """The verdicts of one search, under the recipe's checker where it names one."""
        return Verdicts(self.examiner, self._grader, self.context, name, self.config.max_new_tokens)


def plant(tree: AnswerTree, drawn: Sequence[Completion], roots: int, lots: random.Random, *, reuse: bool) -> list[Branch]:
    """Choose the answers to search, failures where there are any, and count all drawn ones in the tree.

    An answer fails by the few tokens that lose it, but succeeds step by step: a true pair costs 30 % less in two failures than in
    a failure and a success (docs/log.md). A chosen answer passes through each of its own prefixes by choice and not by chance, so
    it counts at the empty prefix only.
    """
    order = lots.sample(range(len(drawn)), len(drawn))
    chosen = ([i for i in order if not tree.grade(tree.root, drawn[i])] or order)[:roots]
    branches = [Branch.of(tree, drawn[i]) for i in chosen]
    for i, answer in enumerate(drawn):
        tree.record(tree.root, answer, reuse=reuse and i not in chosen)
    return branches


def _with_pivots(branches: Sequence[Branch], by_tree: dict[int, Record], tests: Sequence[Tested]) -> Iterator[Answer]:
    """The searched answers in which a pivot holds, with all that was sampled of p(success), for the search and for its verification."""
    held = {(id(test.pivot.tree), test.after.prefix) for test in tests if test.holds}
    fresh = {(id(test.pivot.tree), node.prefix): node.tally for test in tests for node in (test.before, test.after)}
    for branch in branches:
        keys = [(id(branch.tree), node.prefix) for node in branch.nodes]
        pivots = tuple(position for position, key in enumerate(keys[1:]) if key in held)
        if pivots:
            success = tuple(_success(node, fresh.get(key, Tally())) for node, key in zip(branch.nodes, keys, strict=True))
            question, tokens = by_tree[id(branch.tree)], branch.nodes[-1].prefix
            yield Answer(question=question, tokens=tokens, log_probs=branch.log_probs, success=success, pivots=pivots)


def _success(node: Node, fresh: Tally) -> float | None:
    samples = node.tally + fresh
    if node.verdict is not None:
        return float(node.verdict)
    return samples.rate if samples.samples else None
