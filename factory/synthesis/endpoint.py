"""A teacher behind an OpenAI-compatible endpoint: hosted, vLLM, llama.cpp.

What a retry cannot mend ends the stage with one line that says what to do; the answers of the requests in flight are kept.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from factory.endpoint import Endpoint, bounded
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
        async with self._endpoint.client() as client:
            try:
                answers = await bounded(lambda item: self._ask(client, *item), list(missing.items()), self.config.max_concurrency)
            except openai.OpenAIError as error:
                raise self._endpoint.explain(error, "run again later: the answers so far are kept") from error
        return dict(zip(missing, answers, strict=True))

    @property
    def _endpoint(self) -> Endpoint:
        config = self.config
        return Endpoint(config.base_url, self.model, config.api_key_env, config.timeout, config.max_retries, "teacher")

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


def most_input_tokens(request: TeacherRequest) -> int:
    """An upper bound on the tokens of a request's messages."""
    return sum(len(content.encode()) + TOKENS_AROUND_MESSAGE for _, content in request.messages)
