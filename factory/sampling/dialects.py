"""What each kind of completions server calls things: how token ids, stop tokens, seeds and log-probabilities are asked for and read.

OpenAI's interface knows neither token ids nor stop tokens; both kinds of server extend it, each in its own way. Everything that
a server or the model's own `generation_config.json` could set otherwise is stated in every request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Protocol

from factory.errors import SeedmillError
from factory.sampling.api import SamplingSettings
from factory.sampling.config import ServerEngine

Json = dict[str, Any]
IMPOSSIBLE = -100
"""The bias that the interface allows at most; it leaves a token a chance of e^-100 of what it had."""


@dataclass(frozen=True)
class Drawn:
    """What one request drew, and whether the server ended it at a token that it takes for an end."""

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    ended: bool


class Dialect(Protocol):
    """One kind of server."""

    def draw(self, prompt: Sequence[int], settings: SamplingSettings, most: int, seed: int) -> Json:
        """The request for at most `most` tokens after `prompt`.

        Raises where this server cannot state the log-probabilities that `factory.sampling.api.Completion` promises.
        """
        ...

    def read(self, answer: Json) -> Drawn:
        """What came back; KeyError, IndexError, TypeError or ValueError where something is missing."""
        ...

    def score(self, sequence: Sequence[int]) -> Json:
        """The request for the log-probabilities of a given sequence; raises where there is none."""
        ...

    def detokenize(self, tokens: Sequence[int]) -> tuple[Json, str]:
        """The body of a request to `/detokenize`, and the field of the answer that holds the text."""
        ...


def _common(prompt: Sequence[int], settings: SamplingSettings, most: int, seed: int) -> Json:
    return {
        "prompt": list(prompt),
        "max_tokens": most,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "min_p": 0.0,
        "seed": seed,
        "n": 1,
        "logit_bias": {str(token): IMPOSSIBLE for token in settings.forbidden},
    }


class Vllm:
    """vLLM 0.10.2 or later (`return_token_ids`). It ends at the stage's stop tokens only."""

    def __init__(self, log_probs: str) -> None:
        self._log_probs = log_probs

    def draw(self, prompt: Sequence[int], settings: SamplingSettings, most: int, seed: int) -> Json:
        """`ignore_eos` leaves the end to `stop_token_ids`. By default vLLM states log-probabilities before temperature and top-p."""
        if self._log_probs == "raw" and (settings.temperature not in {0, 1} or settings.top_p < 1):
            raise SeedmillError(
                f"temperature {settings.temperature:g} and top_p {settings.top_p:g} need log-probabilities after both: start vLLM with "
                "--logprobs-mode processed_logprobs and set sampling.log_probs to processed"
            )
        extensions = {"top_k": 0, "repetition_penalty": 1.0, "ignore_eos": True, "stop_token_ids": list(settings.stop)}
        return {**_common(prompt, settings, most, seed), **extensions, "logprobs": 0, "return_token_ids": True}

    def read(self, answer: Json) -> Drawn:
        """The stop token is among `token_ids`."""
        choice = answer["choices"][0]
        return Drawn(tuple(choice["token_ids"]), tuple(choice["logprobs"]["token_logprobs"]), choice["finish_reason"] == "stop")

    def score(self, sequence: Sequence[int]) -> Json:
        """One token has to be drawn, too; it is not read."""
        return {"prompt": list(sequence), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}

    def detokenize(self, tokens: Sequence[int]) -> tuple[Json, str]:
        """As vLLM calls it."""
        return {"tokens": list(tokens)}, "prompt"


class LlamaCpp:
    """llama.cpp's server. It ends at the end tokens that its GGUF names, and scores no given sequence."""

    def draw(self, prompt: Sequence[int], settings: SamplingSettings, most: int, seed: int) -> Json:
        """By default it cuts to top-k and min-p, and to top-p before temperature. Greedy chances are all 1, so there it is raw ones."""
        chain = {"samplers": ["temperature", "top_p"], "post_sampling_probs": settings.temperature > 0}
        return {**_common(prompt, settings, most, seed), **chain, "logprobs": 1, "cache_prompt": True}

    def read(self, answer: Json) -> Drawn:
        """The end token is the last entry. Of tokens that end inside a character llama.cpp reports neither id nor chance."""
        choice = answer["choices"][0]
        entries = choice["logprobs"]["content"] if choice["logprobs"] else []
        hidden = answer["usage"]["completion_tokens"] - len(entries)
        if hidden:
            raise SeedmillError(
                f"llama.cpp's server keeps {hidden} token(s) of a completion to itself, because they end inside a character of several "
                "bytes: use sampling.kind vllm, or the local engine, for this model"
            )
        log_probs = tuple(log(entry["prob"]) if "prob" in entry else entry["logprob"] for entry in entries)
        return Drawn(tuple(entry["id"] for entry in entries), log_probs, choice["finish_reason"] == "stop")

    def score(self, sequence: Sequence[int]) -> Json:
        """Not to be had."""
        raise SeedmillError(
            f"llama.cpp's server gives no log-probabilities of given text ({len(sequence)} tokens were to be scored): "
            "use sampling.kind vllm, or the local engine, for this stage"
        )

    def detokenize(self, tokens: Sequence[int]) -> tuple[Json, str]:
        """As llama.cpp calls it."""
        return {"tokens": list(tokens)}, "content"


def prompt_log_probs(answer: Json, sequence: Sequence[int]) -> tuple[float, ...]:
    """The log-probabilities of tokens 1 to n-1 of a scored sequence; the first token has no entry."""
    entries = answer["choices"][0]["prompt_logprobs"][1:]
    return tuple(float(entry[str(token)]["logprob"]) for entry, token in zip(entries, sequence[1:], strict=True))


def dialect_of(engine: ServerEngine) -> Dialect:
    """The dialect of an engine's kind of server."""
    return Vllm(engine.log_probs) if engine.kind == "vllm" else LlamaCpp()
