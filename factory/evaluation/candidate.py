"""A checkpoint under examination: its weights, its tokenizer, and the way it is asked."""

from collections.abc import Sequence
from typing import Literal

from factory.context import Context
from factory.errors import SeedmillError
from factory.evaluation.records import Reply
from factory.preference.models import open_sampler
from factory.preference.questions import Examiner
from factory.sampling.api import Sampler, SampleRequest
from factory.sampling.config import SamplingConfig
from factory.synthesis.formats import native_prompt
from factory.tokens.tokenizer import Tokenizer, load

PromptKind = Literal["native", "chat"]


class Candidate:
    """One checkpoint, asked by text and answering in text."""

    def __init__(self, name: str, sampler: Sampler, tokenizer: Tokenizer) -> None:
        self.name = name  # asset and version
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
        return cls(f"{source.asset}@{source.version}", sampler, load(context.inputs["tokenizer"].path))

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
        """`count` replies to each prompt; temperature 0 is greedy."""
        settings = self.examiner.settings(temperature, max_new_tokens, top_p)
        found = self.sampler.sample([SampleRequest(prompt, count) for prompt in prompts], settings, seed)
        return [[Reply(self.examiner.text(c.tokens), len(c.tokens), c.stopped) for c in completions] for completions in found]
