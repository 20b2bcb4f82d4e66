"""The one interface for drawing text from a checkpoint, whatever engine stands behind it.

Everything is token ids: a prefix is never decoded and encoded again, since that may move token boundaries. Which sequences
share a batch depends on the requests alone, so that a call repeated with the same seed gives the same completions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SampleRequest:
    """A prompt and the number of completions wanted for it; a prompt that comes twice is still computed once."""

    prompt: tuple[int, ...]
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How tokens are drawn; temperature 0 is greedy."""

    temperature: float
    top_p: float = 1.0
    max_new_tokens: int
    stop: tuple[int, ...]
    forbidden: tuple[int, ...] = ()
    """Tokens that are never drawn: padding, ids beyond the vocabulary."""


@dataclass(frozen=True)
class Completion:
    """What was drawn after a prompt: `tokens` ends with the stop token when `stopped`.

    `log_probs[i]` is the natural logarithm of the chance of `tokens[i]` under the distribution that it was drawn from
    (temperature, forbidden tokens and top-p applied). Greedy decoding has no such distribution: temperature 1 is used there.
    """

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    stopped: bool


@dataclass
class Usage:
    """Tokens that went through the model, by the way they went: the prompts of a shared prefix count once."""

    prefill_tokens: int = 0
    decode_tokens: int = 0


class Sampler(Protocol):
    """An engine that holds one checkpoint."""

    usage: Usage

    def sample(self, requests: Sequence[SampleRequest], settings: SamplingSettings, seed: int) -> list[list[Completion]]:
        """For each request its `count` completions, in the order asked."""
        ...

    def log_probs(self, sequences: Sequence[tuple[int, ...]], temperature: float = 1.0) -> list[tuple[float, ...]]:
        """For each sequence of n tokens the log-probabilities of its tokens 1 to n-1 (n-1 values), each given all before it."""
        ...
