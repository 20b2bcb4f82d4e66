"""A checkpoint under examination: its weights, its tokenizer, and the way it is asked."""

import sys
from collections.abc import Sequence
from typing import Literal

from factory.context import Context
from factory.errors import SeedmillError
from factory.evaluation.records import Reply
from factory.preference.models import open_sampler
from factory.preference.questions import Examiner, context_length
from factory.sampling.api import Completion, Sampler, SampleRequest
from factory.sampling.config import SamplingConfig
from factory.synthesis.formats import native_prompt
from factory.tokens.tokenizer import Tokenizer, load

PromptKind = Literal["native", "chat"]


class Candidate:
    """One checkpoint, asked by text and answering in text."""

    def __init__(self, name: str, sampler: Sampler, tokenizer: Tokenizer, positions: int = sys.maxsize) -> None:
        self.name = name  # asset and version
        self.positions = positions  # of prompt and answer together
        self.sampler, self.tokenizer, self.examiner = sampler, tokenizer, Examiner(tokenizer)

    @classmethod
    def open(cls, context: Context, checkpoint: str, sampling: SamplingConfig, positions: int = 1024) -> "Candidate":
        """Open the checkpoint in input `checkpoint` with the tokenizer in input `tokenizer`.

        It runs up to `positions` tokens even where it was trained on shorter rows, as a prompt with its answer may be longer.
        """
        if checkpoint not in context.inputs:
            raise SeedmillError(f"{context.spec.asset}: checkpoint {checkpoint!r} is not among its inputs {sorted(context.inputs)}")
        source = context.inputs[checkpoint]
        sampler = open_sampler(context, checkpoint, sampling, positions)
        longest = max(positions, context_length(context, checkpoint))
        return cls(f"{source.asset}@{source.version}", sampler, load(context.inputs["tokenizer"].path), longest)

    def fits(self, prompt: tuple[int, ...], new_tokens: int) -> bool:
        """Whether the model has room for a prompt and so many new tokens."""
        return len(prompt) + new_tokens <= self.positions

    def prompt(self, question: str, kind: PromptKind) -> tuple[int, ...]:
        """The tokens that put a question: the head of an exercise as pretraining knows it, or a user's turn in ChatML."""
        return tuple(self.tokenizer.encode(native_prompt(question))) if kind == "native" else self.examiner.prompt(question)

    def ask(
        self,
        prompts: Sequence[tuple[int, ...]],
        *,
        temperature: float,
        max_new_tokens: int,
        seed: int,
        count: int = 1,
        top_p: float = 1.0,
    ) -> list[list[Reply]]:
        """`count` replies to each prompt; temperature 0 is greedy. To a prompt that it has no room for, a model says nothing."""
        settings = self.examiner.settings(temperature, max_new_tokens, top_p)
        asked = [prompt for prompt in prompts if self.fits(prompt, max_new_tokens)]
        found = iter(self.sampler.sample([SampleRequest(prompt, count) for prompt in asked], settings, seed))
        silence = [Reply("", 0, stopped=False)] * count
        return [self._replies(next(found)) if self.fits(prompt, max_new_tokens) else silence for prompt in prompts]

    def _replies(self, completions: Sequence[Completion]) -> list[Reply]:
        return [Reply(self.examiner.text(one.tokens), len(one.tokens), one.stopped) for one in completions]
