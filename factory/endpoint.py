"""What all OpenAI-compatible endpoints share, teachers and sampling servers alike: the client, its errors, bounded concurrency.

The client retries what passes (429, 5xx, lost connections) with growing pauses; what does not pass becomes one line that names
the endpoint and the remedy.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import openai

from factory.errors import SeedmillError

TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Endpoint:
    """Where a model is reached, and where in the recipe that is said."""

    base_url: str
    model: str
    api_key_env: str
    timeout: float
    max_retries: int
    field: str
    """The part of the recipe to which `base_url`, `timeout` and `max_concurrency` belong."""

    def client(self) -> openai.AsyncOpenAI:
        """A client with retries; a server of one's own often wants no key, and the client insists on one."""
        key = os.environ.get(self.api_key_env) or "none"
        return openai.AsyncOpenAI(base_url=self.base_url, api_key=key, timeout=self.timeout, max_retries=self.max_retries)

    def explain(self, error: openai.OpenAIError, kept: str = "run again later") -> SeedmillError:
        """The error as one line that names the endpoint and the remedy; `kept` says what a later run can build on."""
        where = f"{self.base_url} (model {self.model})"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return SeedmillError(f"{where} answered {error.status_code}: set the environment variable {self.api_key_env} to a valid key")
        if isinstance(error, openai.APIStatusError) and (error.status_code == TOO_MANY_REQUESTS or error.status_code >= SERVER_ERROR):
            return SeedmillError(
                f"{where} still answered {error.status_code} after {self.max_retries} retries; lower {self.field}.max_concurrency or {kept}"
            )
        if isinstance(error, openai.APIStatusError):
            message = " ".join(error.message.split())
            return SeedmillError(f"{where} answered {error.status_code}: {message}; mend the model's name or {self.field}.base_url")
        if isinstance(error, openai.APIConnectionError):
            return SeedmillError(f"{where} cannot be reached ({error}); check {self.field}.base_url and {self.field}.timeout")
        return SeedmillError(f"{where}: {error}")


async def bounded(work: Callable[[Item], Awaitable[Answer]], items: Sequence[Item], most: int) -> list[Answer]:
    """`work` on every item, at most `most` at once; the answers in order.

    A failing item never takes others with it: those in flight are awaited, no further one is begun, then the first error is raised.
    """
    answers: dict[int, Answer] = {}
    errors: list[Exception] = []
    queue = iter(enumerate(items))

    async def worker() -> None:
        for index, item in queue:
            if errors:
                return
            try:
                answers[index] = await work(item)
            except (SeedmillError, openai.OpenAIError) as error:
                errors.append(error)

    await asyncio.gather(*(worker() for _ in range(min(most, len(items)))))
    if errors:
        raise errors[0]
    return [answers[index] for index in range(len(items))]
