"""The stage `pivotal_pairs`: preference pairs of single tokens, found by pivotal token search.

Questions are searched in groups; a group's pending estimates are drawn together, and every such round is committed whole
(see `rounds`). The report says what the search cost and how far its pairs can be trusted.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from factory.context import Context
from factory.preference.config import PivotalSearchConfig
from factory.preference.figure import Trajectory, render
from factory.preference.models import open_sampler
from factory.preference.pairs import pair_record, pairs_of
from factory.preference.questions import Examiner, draw_questions, fitting
from factory.preference.rounds import Rounds
from factory.preference.search import Branch, Draw, Pivot, Rules, explore, sample
from factory.preference.tree import AnswerTree
from factory.preference.verify import Tested, Trial, false_discovery_rate, power, verify
from factory.records import Record
from factory.sampling.api import Completion, SampleRequest
from factory.schemas import PAIR
from factory.tokens.tokenizer import load


@dataclass
class Report:
    """What the search found, for `pivots.json`."""

    questions: int = 0
    kept_questions: int = 0
    searched_answers: int = 0
    pivots: int = 0
    failed_verification: int = 0
    unpaired_or_repeated_pivots: int = 0
    pairs: int = 0
    prefers_probable: int = 0
    pairs_by_domain: Counter[str] = field(default_factory=Counter)


def run(context: Context) -> None:
    """Write `pairs`, the report `pivots.json`, and the picture of one answer with its data."""
    config = context.section(PivotalSearchConfig)
    search = PivotalSearch(context, config)
    questions = fitting(context, draw_questions(context, config.questions), search.examiner, config.max_new_tokens)
    records: list[Record] = []
    for start in range(0, len(questions), config.questions_together):
        records.extend(search.group(questions[start : start + config.questions_together]))
        context.log(f"{min(start + config.questions_together, len(questions))} of {len(questions)} questions, {len(records)} pairs")
    refusals = list(context.inputs["refusals"].records("pairs"))
    context.keep(len(refusals))
    unique = {record["id"]: record for record in records}
    context.write_records("pairs", [*unique.values(), *refusals], PAIR)
    search.write_figure()
    search.write_report(refusals)


class PivotalSearch:
    """The search over groups of questions, and what it has counted so far."""

    def __init__(self, context: Context, config: PivotalSearchConfig) -> None:
        self.context = context
        self.config = config
        self.rules = Rules(
            config.samples, config.gap, config.most_samples, config.miss, propose=config.propose, prune=config.prune, reuse=config.reuse
        )
        self.trial = Trial(config.gap, config.error_rate, config.verification_samples, config.most_verification_samples)
        self.examiner = Examiner(load(context.inputs["tokenizer"].path))
        self.report = Report()
        sampler = open_sampler(context, "sft_checkpoint", config.sampling)
        settings = self.examiner.settings(config.temperature, config.max_new_tokens)
        self._rounds = Rounds(sampler, context.parts, context.seed)
        self._draw: Draw = partial(self._rounds.draw, settings=settings)
        # The picture has rounds of its own: what it samples is no cost of the search, whose budget the control gets.
        self._draw_figure: Draw = partial(Rounds(sampler, context.parts, context.seed, "figure").draw, settings=settings)
        self._roots = context.random("searched answers")
        self._tests: list[Tested] = []
        self._given_up = 0.0
        self._shown: tuple[Record, Branch] | None = None

    def group(self, questions: Sequence[Record]) -> list[Record]:
        """The pair records of a group of questions."""
        kept = list(self._in_window(questions))
        by_tree = {id(branch.tree): question for question, branches in kept for branch in branches}
        branches = [branch for _, branches in kept for branch in branches]
        for undecided in explore(branches, self.rules, self._draw):
            tokens = self._rounds.usage.decode_tokens
            self.context.progress(len(branches) - undecided, len(branches), "answers", rounds=self._rounds.done, tokens=tokens)
        for question, own in kept:
            self._consider_for_figure(question, own)
        self.report.searched_answers += len(branches)
        self._given_up += sum(branch.given_up for branch in branches)
        return self._paired([pivot for branch in branches for pivot in branch.pivots], by_tree)

    def _in_window(self, questions: Sequence[Record]) -> Iterator[tuple[Record, list[Branch]]]:
        """The questions that are neither solved nor hopeless, each with the answers to search (paper: 0.2 to 0.8)."""
        config = self.config
        prompts = [self.examiner.prompt(question["text"]) for question in questions]
        answers = self._draw([SampleRequest(prompt, config.filter_samples) for prompt in prompts])
        self.report.questions += len(questions)
        for question, prompt, drawn in zip(questions, prompts, answers, strict=True):
            tree = AnswerTree(prompt, self.examiner.grade(question), longest=config.max_new_tokens, stop=self.examiner.stop)
            success = sum(tree.grade(tree.root, answer) for answer in drawn) / len(drawn)
            if config.lowest_success <= success <= config.highest_success:
                self.context.keep()
                self.report.kept_questions += 1
                yield question, plant(tree, drawn, config.roots, self._roots, reuse=config.reuse)
            else:
                self.context.drop("too easy" if success > config.highest_success else "too hard")

    def _paired(self, pivots: Sequence[Pivot], by_tree: dict[int, Record]) -> list[Record]:
        tests = verify(pivots, self.trial, self._draw)
        self._tests.extend(tests)
        pairs = pairs_of(tests, self.config.gap)
        records = [pair_record(pair, by_tree[id(pair.test.pivot.tree)], self.examiner) for pair in pairs]
        self.report.pivots += len(tests)
        self.report.failed_verification += sum(not test.holds for test in tests)
        self.report.unpaired_or_repeated_pivots += sum(bool(test.holds) for test in tests) - len(pairs)
        self.report.pairs += len(pairs)
        self.report.prefers_probable += sum(pair.prefers_probable for pair in pairs)
        self.report.pairs_by_domain.update(record["domain"] for record in records)
        return records

    def _consider_for_figure(self, question: Record, branches: Sequence[Branch]) -> None:
        """Show the answer with the most pivots; the first such."""
        for branch in branches:
            if self._shown is None or len(branch.pivots) > len(self._shown[1].pivots):
                self._shown = (question, branch)

    def write_figure(self) -> None:
        """Draw the estimates at every token of one answer afresh and write them as `trajectory.json` and `figure3.html`."""
        if self._shown is None:
            self.context.log("no question lies in the window: there is no answer to show")
            return
        question, branch = self._shown
        trajectory = self._trajectory(question, branch)
        self.context.write_json("trajectory.json", asdict(trajectory))
        (self.context.out / "figure3.html").write_text(render(trajectory), encoding="utf-8")
        self.context.add_file("figure3.html")

    def _trajectory(self, question: Record, branch: Branch) -> Trajectory:
        config, tokenizer = self.config, self.examiner.tokenizer
        answer = Completion(branch.nodes[-1].prefix, branch.log_probs, stopped=True)
        tree = AnswerTree(branch.tree.prompt, self.examiner.grade(question), longest=config.max_new_tokens, stop=self.examiner.stop)
        nodes = tree.insert(answer)
        sample([(tree, node, config.figure_samples) for node in nodes], self._draw_figure, reuse=True)
        return Trajectory(
            question=question["text"],
            tokens=tuple(tokenizer.decode([token]) for token in answer.tokens),
            log_probs=answer.log_probs,
            success=tuple(node.success for node in nodes),
            gap=config.gap,
            samples=config.figure_samples,
        )

    def write_report(self, refusals: Sequence[Record]) -> None:
        """Write `pivots.json` and put its numbers into the manifest."""
        by_domain = self.report.pairs_by_domain + Counter(pair["domain"] for pair in refusals)
        shares = {"probable_token_chosen": self.report.prefers_probable / max(1, self.report.pairs)}
        cost = {**asdict(self._rounds.usage), "rounds": self._rounds.done}
        report = {**vars(self.report), "pairs_by_domain": dict(sorted(by_domain.items())), **shares, **self._errors(), **cost}
        self.context.made("pairs", self.report.pairs)
        self.context.metrics.update(report)
        self.context.write_json("pivots.json", report)

    def _errors(self) -> dict[str, float | None]:
        """The stated error rate beside what the verification measured."""
        return {
            "stated_error_rate": self.trial.error_rate,
            "false_discovery_rate": false_discovery_rate(self._tests, self.trial),
            "verification_power": power(self._tests, self.trial),
            "power": power(self._tests, self.trial, self._given_up),
        }


def plant(tree: AnswerTree, drawn: Sequence[Completion], roots: int, lots: random.Random, *, reuse: bool) -> list[Branch]:
    """Choose the answers to search, failures and successes in turn, and count all drawn ones in the tree.

    A chosen answer passes through each of its own prefixes by choice and not by chance, so it counts at the empty prefix only.
    """
    order = lots.sample(range(len(drawn)), len(drawn))
    failed = [i for i in order if not tree.grade(tree.root, drawn[i])]
    succeeded = [i for i in order if i not in failed]
    turns = [i for pair in zip(failed, succeeded, strict=False) for i in pair]
    chosen = [*turns, *(i for i in order if i not in turns)][:roots]
    branches = [Branch.of(tree, drawn[i]) for i in chosen]
    for i, answer in enumerate(drawn):
        tree.record(tree.root, answer, reuse=reuse and i not in chosen)
    return branches
