"""Pivotal token search (paper, section 4.3): which single tokens of an answer change its chance of success.

An answer is cut in two where half of its log-probability has been spent, as long as p(success) at the ends of a piece may
differ by the gap; a piece of one token that still may is a pivot, to be verified with fresh samples. A rise and a fall inside
one piece can cancel, and are then missed: the paper's algorithm has that blind spot, and so has this one.

Two facts save most of the samples. Since p(prefix) is the mean of p(prefix + token) over the model's own choice of token,
|p(after) - p(before)| <= 1 - pi(token): a token more probable than 1 - gap can not be pivotal, whatever is sampled (pi must
be the distribution that is sampled from). And a rollout is a sample of every prefix that it passes through.

All estimates that all answers wait for make one round, drawn in one call of the sampler.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, expm1

from factory.errors import SeedmillError
from factory.preference.evidence import Change, change_between
from factory.preference.tree import AnswerTree, Node
from factory.sampling.api import Completion, SampleRequest

Draw = Callable[[Sequence[SampleRequest]], list[list[Completion]]]
Segment = tuple[int, int]
TOLERANCE = 1e-9
"""Rates are fractions: 0.7 - 0.5 is a gap of 0.2, though not in binary."""


@dataclass(frozen=True)
class Rules:
    """The gap that makes a pivot, how many rollouts may decide on a piece, and the two savings.

    A piece is given up once the chance that it holds the gap is below `miss`, and pursued once that chance is `pursue`. In
    between both ends get more rollouts, from `samples` up to `most_samples` by doubling. A piece in doubt even then is pursued;
    a single token is proposed as a pivot only where the chance is `propose`, since its verification costs more than the search.
    """

    samples: int
    gap: float
    most_samples: int = 0
    miss: float = 0.1
    pursue: float = 0.5
    propose: float = 0.35
    prune: bool = True
    reuse: bool = True


@dataclass(frozen=True)
class Pivot:
    """A token that changes p(success) by the gap; `before` ends just ahead of it, `after` with it."""

    tree: AnswerTree
    before: Node
    after: Node
    log_prob: float

    @property
    def token(self) -> int:
        """The token itself."""
        return self.after.prefix[-1]

    @property
    def change(self) -> Change:
        """By how much it changes p(success), by the samples of the search."""
        return change_between(self.before, self.after, exp(self.log_prob))


@dataclass
class Branch:
    """One answer under search: its nodes (one more than tokens) and the segments that are still undecided."""

    tree: AnswerTree
    nodes: list[Node]
    log_probs: tuple[float, ...]
    open: list[Segment] = field(default_factory=list)
    pivots: list[Pivot] = field(default_factory=list)
    given_up: float = 0.0
    """The sum of the chances that a piece given up held the gap: the pivots that the search expects to have missed."""

    @classmethod
    def of(cls, tree: AnswerTree, answer: Completion) -> "Branch":
        """A branch whose only segment is the whole answer."""
        return cls(tree, tree.insert(answer), answer.log_probs, open=[(0, len(answer.tokens))])

    def advance(self, rules: Rules) -> list[tuple[Node, int]]:
        """Decide all that the samples so far allow; returns the nodes that the rest waits for, with the samples each needs."""
        waiting: list[Segment] = []
        wanted: list[tuple[Node, int]] = []
        while self.open:
            segment = self.open.pop()
            if rules.prune and not self.candidates(segment, rules.gap):
                continue
            short = self._undecided(segment, rules)
            if short:
                waiting.append(segment)
                wanted.extend(short)
            else:
                self.open.extend(self._divide(segment, rules))
        self.open = waiting
        return wanted

    def change(self, segment: Segment) -> Change:
        """By how much p(success) changes over a segment, as far as the samples tell."""
        start, end = segment
        return change_between(self.nodes[start], self.nodes[end], exp(sum(self.log_probs[start:end])))

    def _undecided(self, segment: Segment, rules: Rules) -> list[tuple[Node, int]]:
        """What must be sampled before this segment can be decided; nothing when it can."""
        ends = [self.nodes[end] for end in segment]
        samples = rules.samples
        while not any(node.lacks(samples) for node in ends) and samples < rules.most_samples:
            if not rules.miss <= self.change(segment).chance_of_size(rules.gap) < rules.pursue:
                return []
            samples = min(2 * samples, rules.most_samples)
        return [(node, samples) for node in ends if node.lacks(samples)]

    def candidates(self, segment: Segment, gap: float) -> list[int]:
        """The positions in a segment whose token is improbable enough to change p(success) by `gap`."""
        return [i for i in range(*segment) if -expm1(self.log_probs[i]) >= gap - TOLERANCE]

    def _divide(self, segment: Segment, rules: Rules) -> list[Segment]:
        start, end = segment
        chance = self.change(segment).chance_of_size(rules.gap)
        if chance < (rules.propose if end - start == 1 else rules.miss):
            self.given_up += chance
            return []
        if end - start == 1:
            self.pivots.append(Pivot(self.tree, self.nodes[start], self.nodes[end], self.log_probs[start]))
            return []
        suspects = self.candidates(segment, rules.gap)
        if rules.prune and len(suspects) == 1:
            return [(suspects[0], suspects[0] + 1)]
        middle = midpoint(self.log_probs, segment)
        return [(middle, end), (start, middle)]


def midpoint(log_probs: Sequence[float], segment: Segment) -> int:
    """Where a segment of at least two tokens is cut: its log-probability up to there is the first to reach half of the total."""
    start, end = segment
    half = sum(log_probs[start:end]) / 2
    spent = 0.0
    for position in range(start, end):
        spent += log_probs[position]
        if spent <= half:
            return min(max(position + 1, start + 1), end - 1)
    return end - 1


def explore(branches: Sequence[Branch], rules: Rules, draw: Draw) -> Iterator[int]:
    """Search all branches to their end; yields the number of undecided branches after each round."""
    while True:
        wanted = [(branch.tree, node, samples) for branch in branches for node, samples in branch.advance(rules)]
        if not wanted:
            return
        sample(wanted, draw, reuse=rules.reuse)
        yield sum(bool(branch.open) for branch in branches)


def sample(nodes: Sequence[tuple[AnswerTree, Node, int]], draw: Draw, *, reuse: bool) -> None:
    """Bring every node to the largest number of rollouts asked for it, in one call of the sampler (none when nothing lacks)."""
    most: dict[int, tuple[AnswerTree, Node, int]] = {}
    for tree, node, samples in nodes:
        if samples > most.get(id(node), (tree, node, 0))[2] and node.lacks(samples):
            most[id(node)] = (tree, node, samples)
    nodes = list(most.values())
    if not nodes:
        return
    requests = [SampleRequest((*tree.prompt, *node.prefix), node.lacks(samples)) for tree, node, samples in nodes]
    for (tree, node, _), request, rollouts in zip(nodes, requests, draw(requests), strict=True):
        if len(rollouts) != request.count or not all(rollout.tokens for rollout in rollouts):
            raise SeedmillError(f"the sampler gave {len(rollouts)} rollouts for {request.count} asked, or an empty one: check its engine")
        for rollout in rollouts:
            tree.record(node, rollout, reuse=reuse)
