"""The stage `pivotal_pairs`: preference pairs of single tokens, found by pivotal token search.

The drawn questions are cut into groups, which the stage's ranks divide among them; the first rank puts together what was found.
The report says what the search cost and how far its pairs can be trusted.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from factory.context import Context
from factory.digest import canonical_json
from factory.preference.config import MOST_WORKERS, PivotalSearchConfig
from factory.preference.domains import domain_of
from factory.preference.figure import Trajectory, render
from factory.preference.group import Answer, Found, GroupSearch, Searcher
from factory.preference.oracles import VERSIONS
from factory.preference.questions import draw_questions, fitting
from factory.preference.rounds import Rounds
from factory.preference.search import sample
from factory.preference.tree import AnswerTree
from factory.preference.verify import Reliability
from factory.records import Record
from factory.sampling.api import Completion
from factory.schemas import PAIR
from factory.shares import Shares
from factory.spec import Cost

COUNTED = (
    "questions", "kept_questions", "searched_answers", "pivots", "failed_verification", "unpaired_or_repeated_pivots",
    "prefill_tokens", "decode_tokens", "rounds",
)  # fmt: skip
"""The sums of `pivots.json`, also where nothing was found."""
Choice = tuple[int, int, int]
LOOK_BACK = MOST_WORKERS
"""A group knows which quotas the groups up to this many before it have filled: ranks need not wait for each other's last ones."""


def run(context: Context) -> None:
    """Write `pairs`, the report `pivots.json`, and the picture of one answer with its data."""
    config = context.section(PivotalSearchConfig)
    searcher = Searcher(context, config)
    questions = fitting(context, draw_questions(context, config.questions), searcher.examiner, config.max_new_tokens)
    size = config.questions_together
    groups = Groups(searcher, [questions[start : start + size] for start in range(0, len(questions), size)])
    groups.search_own()
    if groups.shares.leads:
        write(searcher, list(groups.found(len(groups.questions))))


class Groups:
    """The groups of questions: this rank's own, and what any rank has found."""

    def __init__(self, searcher: Searcher, questions: Sequence[Sequence[Record]]) -> None:
        self.searcher, self.questions = searcher, questions
        self.shares = Shares.of_this_rank(searcher.context.parts, "group")
        self._pairs, self._counted = Counter[str](), 0

    def search_own(self) -> None:
        """Search what falls to this rank and is not yet found."""
        for number in self.shares.own(len(self.questions)):
            if self.shares.find(number, partial(self._read, number)) is None:
                found = self._search(number)
                self.shares.commit(number, found.model_dump_json().encode())
                self.searcher.context.log(f"group {number + 1} of {len(self.questions)}: {len(found.pairs)} pairs")

    def found(self, end: int, start: int = 0) -> Iterator[Found]:
        """What the groups from `start` and before number `end` found, in order, as soon as it is there."""
        return (self.shares.wait(number, partial(self._read, number)) for number in range(start, end))

    def _search(self, number: int) -> Found:
        filled = self._filled(number - LOOK_BACK + 1)
        asked = [question for question in self.questions[number] if domain_of(question["family"]) not in filled]
        context = self.searcher.context
        before, context.cost = context.cost, Cost()
        found = GroupSearch(self.searcher, number, self._asked(number), partial(self._progress, number)).run(asked)
        # In the part, what was paid outlives this rank: the first one puts all groups' together.
        found.checked, found.cost, context.cost = Counter(context.metrics.pop("checker", {})), context.cost, before
        if len(asked) < len(self.questions[number]):
            found.dropped["domain filled"] = len(self.questions[number]) - len(asked)
        return found

    def _filled(self, end: int) -> set[str]:
        """The domains of which the groups before number `end` found enough. It only grows: each group is read once."""
        quotas = self.searcher.config.quotas
        if quotas and end > self._counted:
            self._pairs.update(pair["domain"] for one in self.found(end, self._counted) for pair in one.pairs)
            self._counted = end
        return {domain for domain, most in quotas.items() if self._pairs[domain] >= most}

    def _progress(self, number: int, share: float) -> None:
        """Of the first rank's own questions: the others have as many."""
        if self.shares.leads:
            own = self.shares.own(len(self.questions))
            before = sum(len(self.questions[other]) for other in own if other < number)
            total = sum(len(self.questions[other]) for other in own)
            self.searcher.context.progress(before + share * len(self.questions[number]), total, "questions")

    def _read(self, number: int, data: bytes) -> Found | None:
        found = Found.model_validate_json(data)
        return found if found.asked == self._asked(number) else None

    def _asked(self, number: int) -> str:
        """What a group's part answers: the settings and the questions."""
        settings = self.searcher.config.model_dump(mode="json", exclude={"sampling", "workers"})
        asked = [settings, [question["id"] for question in self.questions[number]]]
        return hashlib.sha256(canonical_json(asked)).hexdigest()


def within(quotas: Mapping[str, int], pairs: Iterable[Record]) -> Iterator[Record]:
    """The first pairs of each domain, as many as its quota; a domain without one has no limit."""
    seen: Counter[str] = Counter()
    for pair in pairs:
        seen[pair["domain"]] += 1
        if seen[pair["domain"]] <= quotas.get(pair["domain"], seen[pair["domain"]]):
            yield pair


def choice(pair: Record) -> Choice:
    """The two tokens of a pair and where in the answer they stand: what makes pairs of different questions alike."""
    return json.loads(pair["evidence"])["position"], pair["chosen"][0], pair["rejected"][0]


def varied(most: int | None, pairs: Iterable[Record]) -> Iterator[Record]:
    """The first `most` pairs of each choice. A model's opening word decides many answers, and would fill the pairs with itself."""
    seen: Counter[Choice] = Counter()
    for pair in pairs:
        seen[choice(pair)] += 1
        if most is None or seen[choice(pair)] <= most:
            yield pair


def write(searcher: Searcher, groups: Sequence[Found]) -> None:
    """Put together what all groups found."""
    context, quotas = searcher.context, searcher.config.quotas
    for one in groups:
        context.keep(one.counts["kept_questions"])
        context.cost += one.cost
        for reason, number in one.dropped.items():
            context.drop(reason, number)
    unique = {pair["id"]: pair for one in groups for pair in one.pairs}
    pairs = list(within(quotas, varied(searcher.config.most_alike, unique.values())))
    refusals = list(context.inputs["refusals"].records("pairs"))
    kept = list(within(quotas, refusals))
    context.keep(len(kept))
    if len(kept) < len(refusals):
        context.drop("beyond the quota", len(refusals) - len(kept))
    context.write_records("pairs", [*pairs, *kept], PAIR)
    write_answers(searcher, groups)
    write_figure(searcher, groups)
    write_report(context, groups, pairs, kept)


def write_answers(searcher: Searcher, groups: Sequence[Found]) -> None:
    """All answers with verified pivots as `answers.jsonl`, for `factory pivots QUESTION`: a `Trajectory` a line, and its question's id."""
    decode, gap = searcher.examiner.tokenizer.decode, searcher.config.gap
    with (searcher.context.out / "answers.jsonl").open("w", encoding="utf-8") as stream:
        for answer in (answer for one in groups for answer in one.answers):
            shown = {
                "id": answer.question["id"],
                "question": answer.question["text"],
                "tokens": [decode([token]) for token in answer.tokens],
                **answer.model_dump(include={"log_probs", "success", "pivots"}),
                "gap": gap,
                "samples": 0,
            }
            stream.write(json.dumps(shown, ensure_ascii=False) + "\n")
    searcher.context.add_file("answers.jsonl")


def write_figure(searcher: Searcher, groups: Sequence[Found]) -> None:
    """Draw the estimates at every token of one answer afresh and write them as `trajectory.json` and `figure3.html`.

    It is the first of those with the most verified pivots, of which right ones come before wrong ones.
    """
    answers = [answer for one in groups for answer in one.answers]
    if not answers:
        searcher.context.log("no pivot was verified: there is no answer to show")
        return
    trajectory = follow(searcher, max(answers, key=lambda answer: (len(answer.pivots), answer.right)))
    searcher.context.write_json("trajectory.json", asdict(trajectory))
    (searcher.context.out / "figure3.html").write_text(render(trajectory), encoding="utf-8")
    searcher.context.add_file("figure3.html")


def follow(searcher: Searcher, answer: Answer) -> Trajectory:
    """p(success) at every token of an answer. Its rounds are its own: they are no cost of the search, whose budget the control gets."""
    config, examiner, context = searcher.config, searcher.examiner, searcher.context
    prompt, verdicts = examiner.prompt(answer.question["text"]), searcher.verdicts("figure")
    grade = verdicts.of(answer.question)
    tree = AnswerTree(prompt, grade, longest=config.max_new_tokens, stop=examiner.stop)
    nodes = tree.insert(Completion(answer.tokens, answer.log_probs, stopped=True))
    draw = verdicts.watching(partial(Rounds(searcher.sampler, context.parts, context.seed, "figure").draw, settings=searcher.settings))
    sample([(tree, node, config.figure_samples) for node in nodes], draw, reuse=True)
    return Trajectory(
        question=answer.question["text"],
        tokens=tuple(examiner.tokenizer.decode([token]) for token in answer.tokens),
        log_probs=answer.log_probs,
        success=tuple(node.success for node in nodes),
        pivots=answer.pivots,
        gap=config.gap,
        samples=config.figure_samples,
    )


def write_report(context: Context, groups: Sequence[Found], pairs: Sequence[Record], refusals: Sequence[Record]) -> None:
    """Write `pivots.json` and put its numbers into the manifest."""
    counts = sum((one.counts for one in groups), Counter[str]())
    errors = sum((one.errors for one in groups), Reliability())
    probable = [_prefers_probable(json.loads(pair["evidence"])) for pair in pairs]
    report = {
        **dict.fromkeys(COUNTED, 0),
        **counts,
        "pairs": len(pairs),
        "beyond_limits": sum(len(one.pairs) for one in groups) - len(pairs),
        "first_token_share": sum(choice(pair)[0] == 0 for pair in pairs) / max(1, len(pairs)),
        "commonest_choice_share": max(Counter(map(choice, pairs)).values(), default=0) / max(1, len(pairs)),
        "pairs_by_domain": dict(sorted(Counter(pair["domain"] for pair in [*pairs, *refusals]).items())),
        "prefers_probable": sum(probable),
        "probable_token_chosen": sum(probable) / max(1, len(probable)),
        "stated_error_rate": context.section(PivotalSearchConfig).error_rate,
        "false_discovery_rate": errors.false_discovery_rate,
        "verification_power": errors.verification_power,
        "power": errors.power,
    }
    context.made("pairs", len(pairs))
    context.metrics.update(report, oracles=VERSIONS)
    if checked := sum((one.checked for one in groups), Counter[str]()):
        context.metrics["checker"] = dict(sorted(checked.items()))
    context.write_json("pivots.json", report)


def _prefers_probable(evidence: dict[str, Any]) -> bool:
    """Whether the model already gives the chosen token the greater chance."""
    return evidence["chosen"]["log_prob"] >= evidence["rejected"]["log_prob"]
