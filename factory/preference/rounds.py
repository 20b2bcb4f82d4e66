"""Sampling in rounds that are committed whole, so that a killed stage repeats at most the round in flight.

A search is a function of what the sampler answers. So nothing of its state is saved: a resumed stage runs the same search
again and gets the finished rounds from their parts, in seconds, down to the same digest. A part that answers something else, or is
not as it was written, is of no use, and is sampled again: kept as it is, it would end every later attempt, or falsify it.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from factory.digest import canonical_json
from factory.parts import Parts, sealed, unsealed
from factory.sampling.api import Completion, Sampler, SampleRequest, SamplingSettings, Usage

_SCHEMA = pa.schema(
    [
        pa.field("request", pa.int32(), nullable=False),
        pa.field("tokens", pa.list_(pa.int32()), nullable=False),
        pa.field("log_probs", pa.list_(pa.float64()), nullable=False),
        pa.field("stopped", pa.bool_(), nullable=False),
    ]
)


class Rounds:
    """A sampler whose every call is a numbered round with a seed of its own and, when done, a part of its own.

    `usage` counts the tokens of all rounds, whichever attempt drew them; `done` is the number of rounds so far.
    """

    def __init__(self, sampler: Sampler, parts: Parts, seed: Callable[[str], int], name: str = "") -> None:
        self.usage = Usage()
        self.done = 0
        self._sampler = sampler
        self._parts = parts
        self._seed = seed
        self._prefix = f"{name}-" if name else ""

    def draw(self, requests: Sequence[SampleRequest], settings: SamplingSettings) -> list[list[Completion]]:
        """The completions of one round: from its part where an attempt finished it, else sampled and committed."""
        self.done += 1
        part = f"{self._prefix}round-{self.done:05d}.parquet"
        question = _digest(requests, settings)
        table = self._kept(part)
        if table is None or _asked(table) != question:
            table = self._commit(part, question, requests, settings)
        completions, usage = _read(table, len(requests))
        self.usage.prefill_tokens += usage.prefill_tokens
        self.usage.decode_tokens += usage.decode_tokens
        return completions

    def _kept(self, part: str) -> pa.Table | None:
        path = self._parts.find(part)
        content = None if path is None else unsealed(path)
        return None if content is None else pq.read_table(pa.BufferReader(content))

    def _commit(self, part: str, question: str, requests: Sequence[SampleRequest], settings: SamplingSettings) -> pa.Table:
        before = asdict(self._sampler.usage)
        answers = self._sampler.sample(requests, settings, self._seed(part.removesuffix(".parquet")))
        spent = {name: str(count - before[name]) for name, count in asdict(self._sampler.usage).items()}
        table = _table(answers).replace_schema_metadata({"asked": question, **spent})
        content = pa.BufferOutputStream()
        pq.write_table(table, content, compression="zstd")
        with self._parts.writing(part) as path:
            path.write_bytes(sealed(part, content.getvalue().to_pybytes()))
        return table


def _digest(requests: Sequence[SampleRequest], settings: SamplingSettings) -> str:
    """What a round was asked."""
    total = hashlib.sha256(canonical_json(asdict(settings)))
    for request in requests:
        total.update(canonical_json([request.prompt, request.count]))
    return total.hexdigest()


def _asked(table: pa.Table) -> str:
    return table.schema.metadata[b"asked"].decode()


def _table(answers: Sequence[Sequence[Completion]]) -> pa.Table:
    rows = [{"request": i, "tokens": c.tokens, "log_probs": c.log_probs, "stopped": c.stopped} for i, cs in enumerate(answers) for c in cs]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _read(table: pa.Table, requests: int) -> tuple[list[list[Completion]], Usage]:
    answers: list[list[Completion]] = [[] for _ in range(requests)]
    for row in table.to_pylist():
        answers[row["request"]].append(Completion(tuple(row["tokens"]), tuple(row["log_probs"]), row["stopped"]))
    metadata = table.schema.metadata
    return answers, Usage(int(metadata[b"prefill_tokens"]), int(metadata[b"decode_tokens"]))
