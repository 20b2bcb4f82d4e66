"""The estimates of one question: a tree of answer prefixes with counts of what became of the rollouts through them.

Only the prefixes of searched answers are nodes. A rollout that starts at one node and follows a searched answer for a while
is an honest sample of every prefix it passes through, so it is counted at each of them, and for the token by which it
leaves. Two searched answers of a question share the nodes of their common prefix, and so the samples.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from factory.sampling.api import Completion

Grade = Callable[[tuple[int, ...]], bool]


@dataclass
class Tally:
    """How many rollouts went one way, and how many of them succeeded."""

    samples: int = 0
    successes: int = 0

    def add(self, success: bool) -> None:
        """Count one rollout."""
        self.samples += 1
        self.successes += success

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.samples + other.samples, self.successes + other.successes)

    @property
    def rate(self) -> float:
        """The measured success rate; there must be a sample."""
        return self.successes / self.samples

    @property
    def smoothed(self) -> float:
        """The mean of the posterior under a uniform prior: one sample moves it to 1/3 or 2/3, not to 0 or 1."""
        return (self.successes + 1) / (self.samples + 2)


@dataclass
class NextToken:
    """A token seen after a prefix, with the chance that the model gave it there."""

    log_prob: float
    tally: Tally = field(default_factory=Tally)


@dataclass
class Node:
    """A prefix of a searched answer. `verdict` is the oracle's where the answer ends here: nothing is left to sample."""

    prefix: tuple[int, ...]
    tally: Tally = field(default_factory=Tally)
    verdict: bool | None = None
    next_tokens: dict[int, NextToken] = field(default_factory=dict)
    children: dict[int, "Node"] = field(default_factory=dict)
    left_at: dict[tuple[int, ...], Tally] = field(default_factory=dict)
    """What became of the rollouts through here, by the last prefix of the searched answers that they follow."""

    def beside(self, end: "Node") -> Tally:
        """The rollouts through here that leave the searched answer before the prefix `end`."""
        found = Tally()
        for prefix, tally in self.left_at.items():
            if prefix[: len(end.prefix)] != end.prefix:
                found = found + tally
        return found

    def lacks(self, samples: int) -> int:
        """How many samples are missing for an estimate from `samples` of them."""
        return 0 if self.verdict is not None else max(0, samples - self.tally.samples)

    @property
    def success(self) -> float:
        """p(success) after this prefix: the oracle's verdict at the end of an answer, else the estimate."""
        return self.tally.rate if self.verdict is None else float(self.verdict)


class AnswerTree:
    """A question's prefixes. `grade` judges a whole answer, which ends with a token of `stop` or after `longest` tokens."""

    def __init__(self, prompt: tuple[int, ...], grade: Grade, *, longest: int, stop: tuple[int, ...]) -> None:
        self.prompt = prompt
        self.root = Node(())
        self._grade = grade
        self._longest = longest
        self._stop = stop

    def insert(self, answer: Completion) -> list[Node]:
        """Make every prefix of `answer` a node; returns them, from the empty prefix to the whole answer."""
        nodes = self.path(answer.tokens)
        nodes[-1].verdict = self._grade(answer.tokens)
        return nodes

    def path(self, prefix: tuple[int, ...]) -> list[Node]:
        """The nodes along a prefix of an answer, made where they are missing; a prefix that is a whole answer gets its verdict."""
        nodes = [self.root]
        for token in prefix:
            node = nodes[-1]
            nodes.append(node.children.setdefault(token, Node((*node.prefix, token))))
        if prefix and (prefix[-1] in self._stop or len(prefix) >= self._longest):
            nodes[-1].verdict = self._grade(prefix)
        return nodes

    def afresh(self) -> "AnswerTree":
        """A tree of the same question without samples: for decisions that must not see what led to them."""
        return AnswerTree(self.prompt, self._grade, longest=self._longest, stop=self._stop)

    def grade(self, node: Node, rollout: Completion) -> bool:
        """Whether the answer that `rollout` completes from `node` is right.

        It is cut where the answer as a whole would have been cut: the chance of success must be that of one fixed process
        at every prefix, or differences between prefixes mean nothing.
        """
        return self._grade((*node.prefix, *rollout.tokens)[: self._longest])

    def record(self, node: Node, rollout: Completion, *, reuse: bool) -> None:
        """Count a rollout from `node`; with `reuse`, at every node that it passes through as well."""
        success = self.grade(node, rollout)
        passed = self._passed(node, rollout)
        for here, token, log_prob in zip(passed if reuse else passed[:1], rollout.tokens, rollout.log_probs, strict=False):
            here.tally.add(success)
            here.next_tokens.setdefault(token, NextToken(log_prob)).tally.add(success)
            here.left_at.setdefault(passed[-1].prefix, Tally()).add(success)

    @staticmethod
    def _passed(node: Node, rollout: Completion) -> list[Node]:
        """The nodes that a rollout passes through, from the one where it starts."""
        passed = [node]
        for token in rollout.tokens:
            if token not in passed[-1].children:
                break
            passed.append(passed[-1].children[token])
        return passed
