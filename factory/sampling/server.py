"""The second engine: a completions server that holds the checkpoint, for models too large for the job's own process.

Token ids go in and come out; shared prefixes are the server's own cache. Each completion is a request of its own with a seed of
its own, so what is asked is a function of the specification alone. What comes back is not, to the last bit: how a server batches
depends on what else it serves. A stage commits its rounds whole, so a resumed one still ends with the digest of the first try;
a rebuild on a server may not.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import openai

from factory.endpoint import Endpoint, bounded
from factory.errors import SeedmillError
from factory.sampling.api import Completion, SampleRequest, SamplingSettings, Usage
from factory.sampling.config import ServerEngine
from factory.sampling.dialects import Drawn, Json, dialect_of, prompt_log_probs
from factory.tokens.tokenizer import Tokenizer

PROBED_IDS = 64
UNREADABLE = (KeyError, IndexError, TypeError, ValueError)
Job = tuple[tuple[int, ...], int]
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class ServerSampler:
    """A checkpoint behind a server; see `factory.sampling.api.Sampler`.

    `usage` counts what was asked for: each distinct prompt of a call once, and every token drawn.
    """

    def __init__(self, engine: ServerEngine, checkpoint: str, name: str) -> None:
        address = engine.address
        url = address.base_url.replace("{checkpoint}", checkpoint).rstrip("/")
        self.usage = Usage()
        self.endpoint = Endpoint(url, name, address.api_key_env, address.timeout, address.max_retries, "sampling.address")
        self._most = address.max_concurrency
        self._dialect = dialect_of(engine)

    def sample(self, requests: Sequence[SampleRequest], settings: SamplingSettings, seed: int) -> list[list[Completion]]:
        """For each request its `count` completions; raises when the server refuses a prompt or cuts a completion short."""
        jobs = [(request.prompt, seed_of(seed, r, s)) for r, request in enumerate(requests) for s in range(request.count)]
        drawn = iter(self._each(jobs, lambda client, job: self._complete(client, job, settings)))
        answers = [[next(drawn) for _ in range(request.count)] for request in requests]
        self.usage.prefill_tokens += sum(map(len, {request.prompt for request in requests}))
        self.usage.decode_tokens += sum(len(completion.tokens) for found in answers for completion in found)
        return answers

    def log_probs(self, sequences: Sequence[tuple[int, ...]], temperature: float = 1.0) -> list[tuple[float, ...]]:
        """For each sequence the log-probabilities of its tokens 1 to n-1; at temperature 1 only, as servers state no other."""
        if temperature != 1:
            raise SeedmillError(f"a server scores text at temperature 1, not {temperature:g}: use the local engine for this stage")
        self.usage.prefill_tokens += sum(map(len, sequences))
        return self._each(sequences, self._score)

    def check(self, tokenizer: Tokenizer) -> None:
        """Raise unless the server has this model's name and this tokenizer: another one would answer in other tokens, unnoticed."""
        probe = _probe(tokenizer)
        names, text = self._each([probe], self._describe)[0]
        if self.endpoint.model not in names:
            raise SeedmillError(
                f"{self.endpoint.base_url} serves {', '.join(names)}, not {self.endpoint.model}: start it on that checkpoint's `hf` folder "
                "(llama.cpp: on its GGUF) under that name (docs/sampling.md)"
            )
        if text != tokenizer.decode(probe):
            raise SeedmillError(
                f"{self.endpoint.base_url} has another tokenizer than {self.endpoint.model}: it reads ids {probe[:4]}... as {text[:40]!r}"
            )

    def _each(self, items: Sequence[Item], work: Callable[[openai.AsyncOpenAI, Item], Awaitable[Answer]]) -> list[Answer]:
        """Ask for every item, at most `max_concurrency` at once; the answers in order."""

        async def run() -> list[Answer]:
            async with self.endpoint.client() as client:
                return await bounded(lambda item: work(client, item), items, self._most)

        try:
            return asyncio.run(run())
        except openai.OpenAIError as error:
            raise self.endpoint.explain(error, "run again later: whole rounds are kept") from error

    async def _complete(self, client: openai.AsyncOpenAI, job: Job, settings: SamplingSettings) -> Completion:
        """One completion. A server may end at a token that is no stop here; then it is asked to go on."""
        prompt, seed = job
        tokens: list[int] = []
        log_probs: list[float] = []
        while len(tokens) < settings.max_new_tokens:
            most = settings.max_new_tokens - len(tokens)
            body = self._dialect.draw([*prompt, *tokens], settings, most, (seed + len(tokens)) % 2**31)
            drawn = await self._draw(client, body)
            if not drawn.tokens or (len(drawn.tokens) < most and not drawn.ended):
                raise SeedmillError(
                    f"{self.endpoint.base_url} gave {len(drawn.tokens)} of {most} tokens: raise the server's context length above "
                    f"{len(prompt) + settings.max_new_tokens}"
                )
            taken = next((place for place, token in enumerate(drawn.tokens, 1) if token in settings.stop), len(drawn.tokens))
            tokens += drawn.tokens[:taken]
            log_probs += drawn.log_probs[:taken]
            if tokens[-1] in settings.stop:
                break
        return Completion(tuple(tokens), tuple(log_probs), tokens[-1] in settings.stop)

    async def _draw(self, client: openai.AsyncOpenAI, body: Json) -> Drawn:
        answer = await self._ask(client, body)
        try:
            drawn = self._dialect.read(answer)
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        if len(drawn.tokens) != len(drawn.log_probs):
            raise self._unreadable(f"{len(drawn.tokens)} tokens but {len(drawn.log_probs)} log-probabilities")
        return drawn

    async def _score(self, client: openai.AsyncOpenAI, sequence: tuple[int, ...]) -> tuple[float, ...]:
        answer = await self._ask(client, self._dialect.score(sequence))
        try:
            return prompt_log_probs(answer, sequence)
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    async def _ask(self, client: openai.AsyncOpenAI, body: Json) -> Json:
        return await client.post("/completions", cast_to=object, body={"model": self.endpoint.model, **body})  # type: ignore[return-value]

    async def _describe(self, client: openai.AsyncOpenAI, probe: list[int]) -> tuple[list[str], str]:
        """The names of the server's models, and how it reads the ids of `probe`."""
        body, field = self._dialect.detokenize(probe)
        names = [model.id async for model in client.models.list()]
        root = client.with_options(base_url=self.endpoint.base_url.removesuffix("/v1"))
        answer: Any = await root.post("/detokenize", cast_to=object, body={"model": self.endpoint.model, **body})
        try:
            return names, answer[field]
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def _unreadable(self, what: object) -> SeedmillError:
        return SeedmillError(
            f"{self.endpoint.base_url} answered without what was asked for, token ids or log-probabilities ({what!r}): "
            "is sampling.kind the kind of this server?"
        )


def _probe(tokenizer: Tokenizer) -> list[int]:
    """Ids from all over the vocabulary whose bytes are text on their own."""
    plain = sorted(rank for token, rank in tokenizer.ranks.items() if token.isascii())
    return plain[:: max(1, len(plain) // PROBED_IDS)]


def seed_of(seed: int, request: int, sample: int) -> int:
    """The seed of one completion, below 2^31: servers take no more."""
    text = f"{seed}\x1f{request}\x1f{sample}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") >> 1
