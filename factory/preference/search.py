"""Pivotal token search (paper, section 4.3): which single tokens of an answer change its chance of success.

An answer is cut in two where half of its log-probability has been spent, as long as p(success) at the ends of a piece
differs by the gap; a piece of one token that still does is a pivot. A rise and a fall inside one piece can cancel, and are
then missed: the paper's algorithm has that blind spot, and so has this one.

Two facts save most of the samples. Since p(prefix) is the mean of p(prefix + token) over the model's own choice of token,
|p(after) - p(before)| <= 1 - pi(token): a token more probable than 1 - gap can not be pivotal, whatever is sampled (pi must
be the distribution that is sampled from). And a rollout is a sample of every prefix that it passes through.

All estimates that all answers wait for make one round, drawn in one call of the sampler.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from factory.errors import SeedmillError
from factory.preference.tree import AnswerTree, Node
from factory.sampling.api import Completion, SampleRequest

Draw = Callable[[Sequence[SampleRequest]], list[list[Completion]]]
Segment = tuple[int, int]
TOLERANCE = 1e-9
"""Rates are fractions: 0.7 - 0.5 is a gap of 0.2, though not in binary."""


@dataclass(frozen=True)
class Rules:
    """Rollouts behind an estimate, the gap that makes a pivot, and the two savings."""

    samples: int
    gap: float
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
    def change(self) -> float:
        """By how much it changes p(success)."""
        return self.after.success - self.before.success


@dataclass
class Branch:
    """One answer under search: its nodes (one more than tokens) and the segments that are still undecided."""

    tree: AnswerTree
    nodes: list[Node]
    log_probs: tuple[float, ...]
    open: list[Segment] = field(default_factory=list)
    pivots: list[Pivot] = field(default_factory=list)

    @classmethod
    def of(cls, tree: AnswerTree, answer: Completion) -> "Branch":
        """A branch whose only segment is the whole answer."""
        return cls(tree, tree.insert(answer), answer.log_probs, open=[(0, len(answer.tokens))])

    def advance(self, rules: Rules) -> list[Node]:
        """Decide all that the samples so far allow; returns the nodes whose estimates the rest waits for."""
        waiting: list[Segment] = []
        wanted: list[Node] = []
        while self.open:
            segment = self.open.pop()
            if rules.prune and not self.candidates(segment, rules.gap):
                continue
            short = [node for node in (self.nodes[end] for end in segment) if node.lacks(rules.samples)]
            if short:
                waiting.append(segment)
                wanted.extend(short)
            else:
                self.open.extend(self._divide(segment, rules))
        self.open = waiting
        return wanted

    def candidates(self, segment: Segment, gap: float) -> list[int]:
        """The positions in a segment whose token is improbable enough to change p(success) by `gap`."""
        return [i for i in range(*segment) if -math.expm1(self.log_probs[i]) >= gap - TOLERANCE]

    def _divide(self, segment: Segment, rules: Rules) -> list[Segment]:
        start, end = segment
        if abs(self.nodes[end].success - self.nodes[start].success) < rules.gap - TOLERANCE:
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
        wanted = {id(node): (branch.tree, node) for branch in branches for node in branch.advance(rules)}
        if not wanted:
            return
        sample(list(wanted.values()), rules.samples, draw, reuse=rules.reuse)
        yield sum(bool(branch.open) for branch in branches)


def sample(nodes: Sequence[tuple[AnswerTree, Node]], samples: int, draw: Draw, *, reuse: bool) -> None:
    """Bring every node to `samples` rollouts, in one call of the sampler (none when nothing lacks)."""
    nodes = [(tree, node) for tree, node in nodes if node.lacks(samples)]
    if not nodes:
        return
    requests = [SampleRequest((*tree.prompt, *node.prefix), node.lacks(samples)) for tree, node in nodes]
    for (tree, node), request, rollouts in zip(nodes, requests, draw(requests), strict=True):
        if len(rollouts) != request.count or not all(rollout.tokens for rollout in rollouts):
            raise SeedmillError(f"the sampler gave {len(rollouts)} rollouts for {request.count} asked, or an empty one: check its engine")
        for rollout in rollouts:
            tree.record(node, rollout, reuse=reuse)
