"""Pivotal token search as codelion/pts does it, written from its description, for comparison only.

Source: https://github.com/codelion/pts, pts/core.py at f5750d6. A piece is halved at its middle index while the estimates at
its ends differ by the threshold; an estimate is ten samples, drawn in batches of five by `transformers.generate`, one prefix at
a time, the prefix encoded again for every row of every batch; estimates are remembered by prefix. The rejected token of a rise
is the first of the ten likeliest next tokens after which ten samples succeed less often by the threshold; the chosen token of
a fall is the likeliest other token, unverified.

In its favour: prefixes stay token ids, so that no boundary drifts, and the oracle is asked at an answer's end where the original
samples past it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from transformers import GenerationConfig, PreTrainedModel

from factory.sampling.api import SamplingSettings, Usage

SAMPLES, BATCH, THRESHOLD, ALTERNATIVES = 10, 5, 0.2, 10
Tokens = tuple[int, ...]
Verdict = Callable[[Tokens], bool]


@dataclass(frozen=True)
class PublishedPair:
    """Two tokens after a prefix of an answer, and the token of the searched answer among them."""

    prefix: Tokens
    pivot: int
    chosen: int
    rejected: int


@dataclass
class Engine:
    """One prefix at a time through `transformers.generate`."""

    model: PreTrainedModel
    settings: SamplingSettings
    pad: int
    usage: Usage = field(default_factory=Usage)

    def sample(self, prompt: Tokens, room: int) -> list[Tokens]:
        """Ten completions of at most `room` tokens, the stop token included."""
        config = GenerationConfig(
            do_sample=True, temperature=self.settings.temperature, top_k=0, top_p=self.settings.top_p, max_new_tokens=room,
            num_return_sequences=BATCH, pad_token_id=self.pad, eos_token_id=list(self.settings.stop),
            suppress_tokens=list(self.settings.forbidden),
        )  # fmt: skip
        tokens = torch.tensor([prompt])
        found: list[Tokens] = []
        for _ in range(SAMPLES // BATCH):
            rows = self.model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=config)
            found += [self._ended(row) for row in rows[:, len(prompt) :].tolist()]
            self.usage.prefill_tokens += BATCH * len(prompt)
        self.usage.decode_tokens += sum(map(len, found))
        return found

    def likeliest(self, prompt: Tokens, number: int) -> list[int]:
        """The likeliest next tokens that may be drawn."""
        with torch.inference_mode():
            logits = self.model(torch.tensor([prompt])).logits[0, -1].float()
            logits[list(self.settings.forbidden)] = float("-inf")
            self.usage.prefill_tokens += len(prompt)
            return logits.topk(number).indices.tolist()

    def _ended(self, row: list[int]) -> Tokens:
        ends = [place for place, token in enumerate(row) if token in self.settings.stop]
        return tuple(row[: ends[0] + 1] if ends else row)


@dataclass
class PublishedSearch:
    """The search of one question."""

    engine: Engine
    prompt: Tokens
    correct: Verdict
    memory: dict[Tokens, float] = field(default_factory=dict)

    def success(self, prefix: Tokens) -> float:
        """The remembered estimate after a prefix of an answer; the oracle's verdict at an answer's end."""
        if prefix not in self.memory:
            settings = self.engine.settings
            if prefix and (prefix[-1] in settings.stop or len(prefix) >= settings.max_new_tokens):
                self.memory[prefix] = float(self.correct(prefix))
            else:
                self.record(prefix, self.engine.sample((*self.prompt, *prefix), settings.max_new_tokens - len(prefix)))
        return self.memory[prefix]

    def record(self, prefix: Tokens, rollouts: list[Tokens]) -> None:
        """Remember the estimate that rollouts give."""
        self.memory[prefix] = sum(self.correct((*prefix, *rollout)) for rollout in rollouts) / len(rollouts)

    def pairs(self, answer: Tokens) -> list[PublishedPair]:
        """The pairs of one answer."""
        ends = [0, *self._ends(answer, 0, len(answer))]
        found = []
        for start, end in pairwise(ends):
            change = self.success(answer[:end]) - self.success(answer[:start])
            if end - start == 1 and abs(change) >= THRESHOLD - 1e-9:
                pair = self._pair(answer[:start], answer[start], rises=change > 0)
                found += [pair] if pair else []
        return found

    def _ends(self, answer: Tokens, start: int, end: int) -> list[int]:
        if end - start <= 1 or abs(self.success(answer[:end]) - self.success(answer[:start])) < THRESHOLD - 1e-9:
            return [end]
        middle = (start + end) // 2
        return [*self._ends(answer, start, middle), *self._ends(answer, middle, end)]

    def _pair(self, prefix: Tokens, token: int, *, rises: bool) -> PublishedPair | None:
        others = [other for other in self.engine.likeliest((*self.prompt, *prefix), ALTERNATIVES) if other != token]
        if not rises:
            return PublishedPair(prefix, token, others[0], token)
        for other in others:
            if self.success(prefix) - self.success((*prefix, other)) >= THRESHOLD - 1e-9:
                return PublishedPair(prefix, token, token, other)
        return None
