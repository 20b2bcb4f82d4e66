"""What a call to the sampler computes and in which order: a function of its requests alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from factory.sampling.api import SampleRequest

CHUNK_ROWS = 64
CHUNK_TOKENS = 16_384
PROMPT_STEP = 8

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """One completion to draw: sample `sample` of request `request`, after the first `length` tokens of prompt number `prompt`."""

    prompt: int
    length: int
    request: int
    sample: int


def plan(requests: Sequence[SampleRequest]) -> tuple[list[Tokens], list[Job]]:
    """The prompts to compute, longest first, and all jobs in the order of their prompts.

    A prompt that begins another is not computed: what it needs is inside the other. A search over the prefixes of an answer
    asks for many such.
    """
    holder = holders({request.prompt for request in requests if request.count})
    prompts = sorted(dict.fromkeys(holder[request.prompt] for request in requests if request.count), key=lambda prompt: -len(prompt))
    number = {prompt: index for index, prompt in enumerate(prompts)}
    jobs = [
        Job(number[holder[request.prompt]], len(request.prompt), index, sample)
        for index, request in enumerate(requests)
        for sample in range(request.count)
    ]
    return prompts, sorted(jobs, key=lambda job: (job.prompt, -job.length))


def holders(prompts: set[Tokens]) -> dict[Tokens, Tokens]:
    """For each prompt one that begins with it and begins no other: itself, where it begins no other."""
    found: dict[Tokens, Tokens] = {}
    longer: Tokens = ()
    for prompt in sorted(prompts, reverse=True):  # what begins with a prompt stands right behind it in the dictionary's order
        found[prompt] = longer = longer if longer[: len(prompt)] == prompt else prompt
    return found


def chunks(sequences: Sequence[Tokens]) -> Iterator[range]:
    """Cut sequences, sorted longest first, into runs that are computed together: their padded size is bounded."""
    start = 0
    while start < len(sequences):
        rows = max(1, min(CHUNK_ROWS, CHUNK_TOKENS // len(sequences[start])))
        yield range(start, min(start + rows, len(sequences)))
        start += rows


def padded(rows: Sequence[Tokens], step: int = PROMPT_STEP) -> torch.Tensor:
    """Token ids [B, T], T a multiple of `step`, padded on the right with id 0: a causal model never sees what stands after a token."""
    tokens = np.zeros((len(rows), -(-max(map(len, rows)) // step) * step), dtype=np.int64)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    return torch.from_numpy(tokens)
