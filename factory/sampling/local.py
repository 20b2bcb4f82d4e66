"""The local engine: continuous batching on the CPU with every distinct prompt computed once.

Sequences decode side by side in slots. When one ends, the next takes its slot, so short answers do not wait for long ones;
when no more wait, the slots are compacted. Prompts are computed in chunks of like length just before they are needed, and
their keys and values copied to all slots that continue them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from factory.errors import SeedmillError
from factory.sampling.api import Completion, SampleRequest, SamplingSettings, Usage
from factory.sampling.cache import Cache, Prompts, whole_steps
from factory.sampling.draw import draw, streams, uniforms
from factory.sampling.model import Phi3

CHUNK_ROWS = 64
CHUNK_TOKENS = 16_384
COMPACT_BELOW = 0.9
PROMPT_STEP = 8


@dataclass(frozen=True)
class Job:
    """One completion to draw: sample `sample` of request `request`, after distinct prompt `prompt`."""

    prompt: int
    request: int
    sample: int


class LocalSampler:
    """A checkpoint in this process; see `factory.sampling.api.Sampler`."""

    def __init__(self, model: Phi3, slots: int = 256) -> None:
        self.model = model
        self.slots = slots
        self.usage = Usage()

    @classmethod
    def load(
        cls, hf_folder: Path, dtype: Literal["float32", "bfloat16"] = "bfloat16", slots: int = 256, positions: int | None = None
    ) -> "LocalSampler":
        """Open a Hugging Face folder (config.json and model.safetensors of a phi3 model).

        `positions`, where given, raises the limit of the configuration: to see what a model does past its training length.
        """
        return cls(Phi3.load(Path(hf_folder), getattr(torch, dtype), positions), slots)

    @torch.inference_mode()
    def sample(self, requests: Sequence[SampleRequest], settings: SamplingSettings, seed: int) -> list[list[Completion]]:
        """For each request its `count` completions; raises when a prompt is empty or would outgrow the model's positions."""
        for request in requests:
            self._check(request.prompt, settings.max_new_tokens)
        prompts, jobs = plan(requests)
        results: list[dict[int, Completion]] = [{} for _ in requests]
        for job, completion in _Round(self, prompts, jobs, settings, seed).run():
            results[job.request][job.sample] = completion
        return [[found[sample] for sample in range(len(found))] for found in results]

    @torch.inference_mode()
    def log_probs(self, sequences: Sequence[tuple[int, ...]], temperature: float = 1.0) -> list[tuple[float, ...]]:
        """For each sequence of n tokens the log-probabilities of its tokens 1 to n-1, each given all before it."""
        found: list[tuple[float, ...]] = [()] * len(sequences)
        for sequence in sequences:
            self._check(sequence, 0)
        order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
        for chunk in chunks([sequences[index] for index in order]):
            rows = [sequences[order[number]] for number in chunk]
            hidden, _, _ = self._prefill(rows)
            logits = self.model.logits(hidden).div_(temperature)[:, :-1]
            targets = padded(rows)[:, 1:, None]
            values = (logits.gather(-1, targets) - logits.logsumexp(-1, keepdim=True))[..., 0].tolist()
            for number, row, value in zip(chunk, rows, values, strict=True):
                found[order[number]] = tuple(value[: len(row) - 1])
        return found

    def prompts(self, first: int, rows: Sequence[tuple[int, ...]]) -> Prompts:
        """Compute a chunk of distinct prompts."""
        hidden, keys, values = self._prefill(rows)
        last = torch.tensor([len(row) - 1 for row in rows])
        return Prompts(first, keys, values, self.model.logits(hidden[torch.arange(len(rows)), last]))

    def _prefill(self, rows: Sequence[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.usage.prefill_tokens += sum(map(len, rows))
        return self.model.prefill(padded(rows))

    def _check(self, prompt: tuple[int, ...], new: int) -> None:
        if not prompt:
            raise SeedmillError("a prompt holds no token: give at least one, such as the end-of-document token")
        if len(prompt) + new > self.model.shape.positions:
            raise SeedmillError(
                f"a prompt of {len(prompt)} tokens and {new} new ones exceed the model's {self.model.shape.positions} positions: "
                "shorten the prompt or lower max_new_tokens"
            )


class _Round:
    """The state of one call to `sample`."""

    def __init__(
        self, sampler: LocalSampler, prompts: list[tuple[int, ...]], jobs: list[Job], settings: SamplingSettings, seed: int
    ) -> None:
        self.sampler, self.all_prompts, self.jobs, self.settings, self.seed = sampler, prompts, jobs, settings, seed
        self.waiting = 0  # number of the next job to admit
        self.upcoming = chunks(prompts)
        self.chunk: Prompts | None = None
        size = min(sampler.slots, whole_steps(len(jobs)))
        shape = sampler.model.shape
        self.cache = Cache.empty(
            layers=shape.layers, slots=size, kv_heads=shape.kv_heads, head_dim=shape.head_dim, dtype=sampler.model.dtype
        )
        self.logits = torch.zeros(size, shape.vocab)
        self.positions = torch.zeros(size, dtype=torch.int64)
        self.tokens = torch.zeros(size, settings.max_new_tokens, dtype=torch.int64)
        self.log_probs = torch.zeros(size, settings.max_new_tokens)
        self.lengths = np.zeros(size, dtype=np.int64)
        self.keys = np.zeros(size, dtype=np.uint64)
        self.owner = np.full(size, -1)  # the job in each slot, -1 when free

    def run(self) -> Iterator[tuple[Job, Completion]]:
        """Yield every job with its completion, as they end."""
        stop = torch.tensor(self.settings.stop, dtype=torch.int64)
        while True:
            self._admit()
            self._compact()
            if not self.owner.size:
                return
            drawn, log_probs = draw(self.logits, self.settings, uniforms(self.keys, self.lengths))
            rows = torch.arange(len(drawn))
            places = torch.from_numpy(self.lengths)
            self.tokens[rows, places], self.log_probs[rows, places] = drawn, log_probs
            self.lengths += self.owner >= 0
            stopped = torch.isin(drawn, stop).numpy()
            yield from self._finish(stopped)
            if self.waiting < len(self.jobs) or (self.owner >= 0).any():
                self.logits = self.sampler.model.decode(drawn, self.positions, self.cache)
                self.positions += torch.from_numpy(self.owner >= 0)

    def _finish(self, stopped: np.ndarray) -> Iterator[tuple[Job, Completion]]:
        active = self.owner >= 0
        self.sampler.usage.decode_tokens += int(active.sum())
        for slot in np.flatnonzero(active & (stopped | (self.lengths == self.settings.max_new_tokens))):
            length = self.lengths[slot]
            tokens, log_probs = self.tokens[slot, :length].tolist(), self.log_probs[slot, :length].tolist()
            yield self.jobs[self.owner[slot]], Completion(tuple(tokens), tuple(log_probs), bool(stopped[slot]))
            self.owner[slot] = -1
            self.lengths[slot] = self.positions[slot] = 0

    def _admit(self) -> None:
        free = np.flatnonzero(self.owner < 0)[: len(self.jobs) - self.waiting]
        while len(free):
            prompts = self._prompts_of(self.jobs[self.waiting])
            taken = [job for job in self.jobs[self.waiting : self.waiting + len(free)] if job.prompt < prompts.end]
            self._enter(free[: len(taken)], taken, prompts)
            free = free[len(taken) :]

    def _prompts_of(self, job: Job) -> Prompts:
        if self.chunk is None or job.prompt >= self.chunk.end:
            numbers = next(self.upcoming)
            self.chunk = self.sampler.prompts(numbers[0], [self.all_prompts[number] for number in numbers])
        return self.chunk

    def _enter(self, slots: np.ndarray, jobs: list[Job], prompts: Prompts) -> None:
        where, rows = torch.from_numpy(slots), torch.tensor([job.prompt - prompts.first for job in jobs])
        self.cache.admit(where, prompts, rows)
        self.logits[where] = prompts.logits[rows]
        self.positions[where] = torch.tensor([len(self.all_prompts[job.prompt]) for job in jobs])
        self.owner[slots] = np.arange(self.waiting, self.waiting + len(jobs))
        requests, samples = (np.array([getattr(job, name) for job in jobs]) for name in ("request", "sample"))
        self.keys[slots] = streams(self.seed, requests, samples)
        self.waiting += len(jobs)

    def _compact(self) -> None:
        active = int((self.owner >= 0).sum())
        size = min(whole_steps(active), len(self.owner))
        if size > COMPACT_BELOW * len(self.owner) or not self.owner.size:
            return
        kept = np.argsort(self.owner < 0, kind="stable")[:size]
        where = torch.from_numpy(kept)
        self.cache.compact(where, int(self.positions.max()) + 1)
        for name in ("logits", "positions", "tokens", "log_probs"):
            setattr(self, name, getattr(self, name)[where])
        for name in ("lengths", "keys", "owner"):
            setattr(self, name, getattr(self, name)[kept])


def plan(requests: Sequence[SampleRequest]) -> tuple[list[tuple[int, ...]], list[Job]]:
    """The distinct prompts, longest first, and all jobs in the order of their prompts."""
    prompts = sorted(dict.fromkeys(request.prompt for request in requests if request.count), key=lambda prompt: -len(prompt))
    number = {prompt: index for index, prompt in enumerate(prompts)}
    jobs = [Job(number[request.prompt], index, sample) for index, request in enumerate(requests) for sample in range(request.count)]
    return prompts, sorted(jobs, key=lambda job: job.prompt)


def chunks(sequences: Sequence[tuple[int, ...]]) -> Iterator[range]:
    """Cut sequences, sorted longest first, into runs that are computed together: their padded size is bounded."""
    start = 0
    while start < len(sequences):
        rows = max(1, min(CHUNK_ROWS, CHUNK_TOKENS // len(sequences[start])))
        yield range(start, min(start + rows, len(sequences)))
        start += rows


def padded(rows: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Token ids [B, T], T a multiple of 8, padded on the right with id 0: a causal model never sees what stands after a token."""
    tokens = np.zeros((len(rows), whole_steps(max(map(len, rows)), PROMPT_STEP)), dtype=np.int64)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    return torch.from_numpy(tokens)
