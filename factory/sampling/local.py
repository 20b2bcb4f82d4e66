"""The local engine: continuous batching on a CPU or one GPU, with every distinct prompt computed once.

Sequences decode side by side in slots. When one ends, the next takes its slot, so short answers do not wait for long ones;
when no more wait, the slots are compacted. Prompts are computed in chunks of like length just before they are needed, and
their keys and values are read by all slots that continue them. Who sits where is kept on the host, in NumPy; weights, keys, values
and logits stay on the device, so one step moves two small vectors each way.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from factory.errors import SeedmillError
from factory.sampling.api import Completion, SampleRequest, SamplingSettings, Usage
from factory.sampling.cache import Cache, Sizes, whole_steps
from factory.sampling.config import LocalEngine
from factory.sampling.draw import draw, streams, uniforms
from factory.sampling.model import Phi3
from factory.sampling.plan import Job, Tokens, chunks, padded, plan

COMPACT_BELOW = 0.9
MOST_ROWS = 16


def find(device: Literal["cpu", "gpu"]) -> torch.device:
    """The device that a recipe means, of several GPUs the one of this rank; raises when it is a GPU and torch sees none."""
    if device == "gpu" and not torch.cuda.is_available():
        raise SeedmillError(
            "sampling.device is gpu, but torch sees no GPU here: launch the stage where one is granted (docs/clusters.md), or set it to cpu"
        )
    if device == "gpu":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


class LocalSampler:
    """A checkpoint in this process; see `factory.sampling.api.Sampler`."""

    def __init__(self, model: Phi3, slots: int = 256) -> None:
        self.model = model
        self.slots = slots
        self.usage = Usage()

    @classmethod
    def load(cls, hf_folder: Path, engine: LocalEngine | None = None, positions: int | None = None) -> "LocalSampler":
        """Open a Hugging Face folder (config.json and model.safetensors of a phi3 model); raises when the device is not there.

        `positions`, where given, raises the limit of the configuration: to see what a model does past its training length.
        """
        engine = engine or LocalEngine()
        return cls(Phi3.load(Path(hf_folder), getattr(torch, engine.dtype), find(engine.device), positions), engine.slots)

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
    def log_probs(self, sequences: Sequence[Tokens], temperature: float = 1.0) -> list[tuple[float, ...]]:
        """For each sequence of n tokens the log-probabilities of its tokens 1 to n-1, each given all before it."""
        found: list[tuple[float, ...]] = [()] * len(sequences)
        for sequence in sequences:
            self._check(sequence, 0)
        order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
        for chunk in chunks([sequences[index] for index in order]):
            rows = [sequences[order[number]] for number in chunk]
            hidden, _, _ = self.prefill(rows)
            logits = self.model.logits(hidden).div_(temperature)[:, :-1]
            targets = padded(rows)[:, 1:, None].to(logits.device)
            values = (logits.gather(-1, targets) - logits.logsumexp(-1, keepdim=True))[..., 0].tolist()
            for number, row, value in zip(chunk, rows, values, strict=True):
                found[order[number]] = tuple(value[: len(row) - 1])
        return found

    def prefill(self, rows: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run whole prompts; see `Phi3.prefill`."""
        self.usage.prefill_tokens += sum(map(len, rows))
        return self.model.prefill(padded(rows).to(self.model.device))

    def _check(self, prompt: Tokens, new: int) -> None:
        if not prompt:
            raise SeedmillError("a prompt holds no token: give at least one, such as the end-of-document token")
        if len(prompt) + new > self.model.shape.positions:
            raise SeedmillError(
                f"a prompt of {len(prompt)} tokens and {new} new ones exceed the model's {self.model.shape.positions} positions: "
                "shorten the prompt or lower max_new_tokens"
            )


@dataclass(frozen=True)
class _Chunk:
    """Prompts from number `first` on, after their prefill."""

    first: int
    hidden: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor

    @property
    def end(self) -> int:
        """One past the number of the last prompt."""
        return self.first + len(self.hidden)


class _Round:
    """The state of one call to `sample`."""

    def __init__(self, sampler: LocalSampler, prompts: list[Tokens], jobs: list[Job], settings: SamplingSettings, seed: int) -> None:
        self.sampler, self.prompts, self.jobs, self.settings, self.seed = sampler, prompts, jobs, settings, seed
        self.waiting = 0  # number of the next job to admit
        self.upcoming = chunks(prompts)
        self.chunk: _Chunk | None = None
        shape, size = sampler.model.shape, min(sampler.slots, whole_steps(len(jobs)))
        sizes = Sizes(shape.layers, shape.kv_heads, shape.head_dim, sampler.model.dtype, sampler.model.device)
        self.cache = Cache(sizes, slots=size, rows=min(MOST_ROWS, -(-len(jobs) // max(1, len(prompts)))), longest=settings.max_new_tokens)
        self.stops = np.zeros(shape.vocab, dtype=bool)
        self.stops[[token for token in settings.stop if token < shape.vocab]] = True
        self.logits = torch.zeros(size, shape.vocab, device=sizes.device)
        self.tokens = np.zeros((size, settings.max_new_tokens), dtype=np.int64)
        self.log_probs = np.zeros((size, settings.max_new_tokens), dtype=np.float32)
        self.lengths = np.zeros(size, dtype=np.int64)  # of what was drawn
        self.keys = np.zeros(size, dtype=np.uint64)
        self.owner = np.full(size, -1)  # the job in each slot, -1 when free

    def run(self) -> Iterator[tuple[Job, Completion]]:
        """Yield every job with its completion, as they end."""
        while True:
            self._admit()
            self._compact()
            if not self.owner.size:
                return
            drawn, positions = self._draw(), self.cache.prompt_lengths + self.lengths
            self.lengths += self.owner >= 0
            yield from self._finish(self.stops[drawn.cpu().numpy()])
            if self.waiting < len(self.jobs) or (self.owner >= 0).any():
                self.logits = self.sampler.model.decode(drawn, self.cache.sizes.put(positions), self.cache)

    def _draw(self) -> torch.Tensor:
        uniform = uniforms(self.keys, self.lengths).to(self.logits.device)
        drawn, log_probs = draw(self.logits, self.settings, uniform)
        rows = np.arange(len(self.owner))
        self.tokens[rows, self.lengths], self.log_probs[rows, self.lengths] = drawn.cpu().numpy(), log_probs.cpu().numpy()
        return drawn

    def _finish(self, stopped: np.ndarray) -> Iterator[tuple[Job, Completion]]:
        active = self.owner >= 0
        self.sampler.usage.decode_tokens += int(active.sum())
        ended = np.flatnonzero(active & (stopped | (self.lengths == self.settings.max_new_tokens)))
        for slot in ended:
            length = self.lengths[slot]
            tokens, log_probs = self.tokens[slot, :length].tolist(), self.log_probs[slot, :length].tolist()
            yield self.jobs[self.owner[slot]], Completion(tuple(tokens), tuple(log_probs), bool(stopped[slot]))
        self.owner[ended] = -1
        self.lengths[ended] = 0
        self.cache.end(ended)

    def _admit(self) -> None:
        free = np.flatnonzero(self.owner < 0)[: len(self.jobs) - self.waiting]
        while len(free):
            chunk = self._chunk_of(self.jobs[self.waiting])
            taken = [job for job in self.jobs[self.waiting : self.waiting + len(free)] if job.prompt < chunk.end]
            self._enter(free[: len(taken)], taken, chunk)
            free = free[len(taken) :]

    def _chunk_of(self, job: Job) -> _Chunk:
        if self.chunk is None or job.prompt >= self.chunk.end:
            numbers = next(self.upcoming)
            self.chunk = _Chunk(numbers[0], *self.sampler.prefill([self.prompts[number] for number in numbers]))
        return self.chunk

    def _enter(self, slots: np.ndarray, jobs: list[Job], chunk: _Chunk) -> None:
        rows, lengths = [job.prompt - chunk.first for job in jobs], np.array([job.length for job in jobs])
        self.cache.admit(slots, [job.prompt for job in jobs], lengths, chunk.first, chunk.keys, chunk.values)
        self.logits[self.cache.sizes.put(slots)] = self.sampler.model.logits(chunk.hidden[rows, lengths - 1])
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
        self.cache.compact(kept, int(self.lengths.max()))
        self.logits = self.logits[self.cache.sizes.put(kept)]
        for name in ("tokens", "log_probs", "lengths", "keys", "owner"):
            setattr(self, name, getattr(self, name)[kept])
