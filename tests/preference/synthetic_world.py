"""A model whose p(success) is known exactly after every prefix: what a search finds can be compared with the truth."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import log

from factory.sampling.api import Completion, SampleRequest, SamplingSettings, Usage

WRONG, RIGHT = 0, 1
PROMPT = (99,)
Prefix = tuple[int, ...]


@dataclass
class World:
    """Independent tokens at each position, then RIGHT with the chance that `final` gives for what was drawn, else WRONG."""

    positions: list[dict[int, float]]
    final: Callable[[Prefix], float]
    usage: Usage = field(default_factory=Usage)
    calls: list[int] = field(default_factory=list)
    prompt_tokens: int = len(PROMPT)

    @property
    def length(self) -> int:
        return len(self.positions) + 1

    def choices(self, prefix: Prefix) -> dict[int, float]:
        if len(prefix) < len(self.positions):
            return self.positions[len(prefix)]
        return {RIGHT: self.final(prefix), WRONG: 1 - self.final(prefix)}

    @cached_property
    def success(self) -> Callable[[Prefix], float]:
        @cache
        def value(prefix: Prefix) -> float:
            if len(prefix) == self.length:
                return float(prefix[-1] == RIGHT)
            return sum(p * value((*prefix, token)) for token, p in self.choices(prefix).items())

        return value

    def answer(self, tokens: Sequence[int]) -> Completion:
        log_probs = tuple(log(self.choices(tuple(tokens[:i]))[token]) for i, token in enumerate(tokens))
        return Completion(tuple(tokens), log_probs, stopped=True)

    def pivots(self, tokens: Sequence[int], gap: float) -> list[int]:
        values = [self.success(tuple(tokens[:i])) for i in range(len(tokens) + 1)]
        return [i for i in range(len(tokens)) if abs(values[i + 1] - values[i]) >= gap - 1e-9]

    def sample(self, requests: Sequence[SampleRequest], _: SamplingSettings | None = None, seed: int = 0) -> list[list[Completion]]:
        self.calls.append(len(requests))
        lots = random.Random(f"{seed} {len(self.calls)}")
        return [self._rollouts(request.prompt[self.prompt_tokens :], request.count, lots) for request in requests]

    def _rollouts(self, prefix: Prefix, count: int, lots: random.Random) -> list[Completion]:
        return [self._ending(prefix, self._walk(prefix, lots)) for _ in range(count)]

    def _walk(self, prefix: Prefix, lots: random.Random) -> Prefix:
        drawn = list(prefix)
        while len(drawn) < self.length:
            choices = self.choices(tuple(drawn))
            drawn += lots.choices(list(choices), weights=list(choices.values()))
        return tuple(drawn)

    def _ending(self, prefix: Prefix, drawn: Prefix) -> Completion:
        self.usage.prefill_tokens += self.prompt_tokens + len(prefix)
        self.usage.decode_tokens += len(drawn) - len(prefix)
        whole = self.answer(drawn)
        return Completion(whole.tokens[len(prefix) :], whole.log_probs[len(prefix) :], stopped=True)


class ExactWorld(World):
    """Answers a request for n rollouts with outcomes in exact proportion (to 1/n): a search without sampling noise."""

    def _rollouts(self, prefix: Prefix, count: int, _: random.Random) -> list[Completion]:
        endings = [(p, drawn) for p, drawn in self._endings(prefix, 1.0) if p > 0]
        rollouts = [self._ending(prefix, drawn) for p, drawn in endings for _ in range(round(p * count))]
        assert len(rollouts) == count, "choose probabilities that divide the number of samples"
        return rollouts

    def _endings(self, drawn: Prefix, chance: float) -> list[tuple[float, Prefix]]:
        if len(drawn) == self.length:
            return [(chance, drawn)]
        return [ending for token, p in self.choices(drawn).items() for ending in self._endings((*drawn, token), chance * p)]
