"""A teacher behind an OpenAI-compatible endpoint: hosted, vLLM, llama.cpp.

The client retries what passes (429, 5xx, lost connections); what does not pass ends the stage with one line that says what
to do. A failing request never takes others with it: those in flight are awaited and kept, then the error is raised.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from factory.errors import SeedmillError
from factory.synthesis.cache import AnswerCache
from factory.synthesis.config import TeacherConfig
from factory.synthesis.teacher import TeacherAnswer, TeacherRequest

MILLION = 1_000_000
# What a chat template may add around one message; a byte-level token is at least one byte, so bytes bound the rest.
TOKENS_AROUND_MESSAGE = 16


class EndpointTeacher:
    """Asks what the cache does not hold, at most `max_concurrency` at once and never beyond the budget."""

    def __init__(self, config: TeacherConfig, cache: AnswerCache) -> None:
        self.config = config
        self.cache = cache

    @property
    def model(self) -> str:
        """The model's name at the endpoint."""
        return self.config.model

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        """One answer for each request, in order. Equal requests are asked once."""
        keys = [request.key(self.model) for request in requests]
        known = {key: found for key in dict.fromkeys(keys) if (found := self.cache.find(key))}
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        if missing:
            known |= asyncio.run(self._ask_all(missing))
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        # An equal request further on was not paid for again.
        return [known[key] if first[key] == index else replace(known[key], cached=True) for index, key in enumerate(keys)]

    async def _ask_all(self, missing: dict[str, TeacherRequest]) -> dict[str, TeacherAnswer]:
        answers: dict[str, TeacherAnswer] = {}
        errors: list[Exception] = []
        queue = iter(missing.items())
        async with self._client() as client:
            workers = min(self.config.max_concurrency, len(missing))
            await asyncio.gather(*(self._work(client, queue, answers, errors) for _ in range(workers)))
        if errors:
            raise errors[0]
        return answers

    async def _work(
        self,
        client: openai.AsyncOpenAI,
        queue: Iterator[tuple[str, TeacherRequest]],
        answers: dict[str, TeacherAnswer],
        errors: list[Exception],
    ) -> None:
        for key, request in queue:
            if errors:
                return
            try:
                answers[key] = await self._ask(client, key, request)
            except (SeedmillError, openai.OpenAIError) as error:
                errors.append(self._explain(error))
                return

    async def _ask(self, client: openai.AsyncOpenAI, key: str, request: TeacherRequest) -> TeacherAnswer:
        most = self._price(most_input_tokens(request), request.max_tokens)
        reservation = self.cache.reserve(key, most, self.config.budget)
        messages: list[ChatCompletionMessageParam] = [{"role": r, "content": c} for r, c in request.messages]  # type: ignore[misc, list-item]
        try:
            reply = await client.chat.completions.create(
                model=self.model, messages=messages, max_tokens=request.max_tokens, temperature=request.temperature
            )
        except openai.APIStatusError:
            self.cache.release(reservation)
            raise
        answer = self._read(reply, request)
        self.cache.store(key, reservation, answer)
        return answer

    def _read(self, reply: ChatCompletion, request: TeacherRequest) -> TeacherAnswer:
        """An answer with its price; a server that reports no usage is taken at the most it can be."""
        choice = reply.choices[0]
        inputs, outputs = most_input_tokens(request), request.max_tokens
        if reply.usage is not None:
            inputs, outputs = reply.usage.prompt_tokens, reply.usage.completion_tokens
        complete = choice.finish_reason != "length"
        return TeacherAnswer(choice.message.content or "", self.model, inputs, outputs, self._price(inputs, outputs), complete)

    def _price(self, input_tokens: int, output_tokens: int) -> float:
        price_in, price_out = self.config.price_per_million_input or 0.0, self.config.price_per_million_output or 0.0
        return (input_tokens * price_in + output_tokens * price_out) / MILLION

    def _client(self) -> openai.AsyncOpenAI:
        # A server of one's own often wants no key, and the client insists on one: the endpoint is the judge of it.
        key = os.environ.get(self.config.api_key_env) or "none"
        return openai.AsyncOpenAI(
            base_url=self.config.base_url, api_key=key, timeout=self.config.timeout, max_retries=self.config.max_retries
        )

    def _explain(self, error: Exception) -> Exception:
        """The error as one line that names the endpoint and the remedy."""
        where = f"{self.config.base_url} (model {self.model})"
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            return SeedmillError(
                f"{where} answered {error.status_code}: set the environment variable {self.config.api_key_env} to a valid key"
            )
        if isinstance(error, openai.APIStatusError) and (error.status_code == 429 or error.status_code >= 500):
            return SeedmillError(
                f"{where} still answered {error.status_code} after {self.config.max_retries} retries; "
                "lower teacher.max_concurrency or run again later: the answers so far are kept"
            )
        if isinstance(error, openai.APIStatusError):
            return SeedmillError(f"{where} answered {error.status_code}: {error.message}; mend teacher.model or teacher.base_url")
        if isinstance(error, openai.APIConnectionError):
            return SeedmillError(f"{where} cannot be reached ({error}); check teacher.base_url and teacher.timeout")
        return error


def most_input_tokens(request: TeacherRequest) -> int:
    """An upper bound on the tokens of a request's messages."""
    return sum(len(content.encode()) + TOKENS_AROUND_MESSAGE for _, content in request.messages)
