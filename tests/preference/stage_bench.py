"""What a preference stage needs to run in a test: a byte tokenizer, inputs on disk, and a model that follows a script."""

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.context import Context
from factory.records import Record, new_record
from factory.sampling.api import Completion, SampleRequest, SamplingSettings, Usage
from factory.schemas import CONVERSATION, PAIR, PROBLEM
from factory.spec import InputSpec, JobSpec
from factory.tokens.tokenizer import EOD, IM_END, IM_SEP, IM_START, Tokenizer, TokenizerSpec

SCHEMAS = {"questions": PROBLEM, "problems": PROBLEM, "pairs": PAIR, "conversations": CONVERSATION}
SPECIAL = {EOD: 256, IM_START: 257, IM_END: 258, IM_SEP: 259, "<|pad|>": 260}


def byte_tokenizer() -> Tokenizer:
    """One token a byte."""
    spec = TokenizerSpec(
        kind="trained", pattern=r"(?s:.)", vocab_size=264, special_tokens=SPECIAL,
        unused_tokens={f"<|dummy_{i}|>": 261 + i for i in range(3)},
    )  # fmt: skip
    return Tokenizer(spec, {bytes([value]): value for value in range(256)})


def question(text: str, answer: str, family: str = "story", steps: Sequence[str] = (), solution: str = "") -> Record:
    return new_record(
        source="problems", locator=text[:20], text=text, kind="question", created_by="test@1", license="Apache-2.0", language="en",
        family=family, answer=answer, steps=list(steps), solution=solution,
    )  # fmt: skip


class ScriptedModel:
    """Answers each prompt with one of its texts, by their chances; every conditional probability of a token is exact.

    With `dies_at`, the call of that number raises, as a killed process would end.
    """

    def __init__(self, script: Mapping[str, Mapping[str, float]], tokenizer: Tokenizer, *, chat: bool = True, dies_at: int = 0) -> None:
        self.usage = Usage()
        self.calls = 0
        self._dies_at = dies_at
        self._endings = {
            self._prompt(prompt, tokenizer, chat): {(*tokenizer.encode(text), tokenizer.im_end): p for text, p in texts.items()}
            for prompt, texts in script.items()
        }

    @staticmethod
    def _prompt(prompt: str, tokenizer: Tokenizer, chat: bool) -> tuple[int, ...]:
        return tuple(tokenizer.encode_chat([{"role": "user", "content": prompt}]) if chat else tokenizer.encode(prompt))

    def sample(self, requests: Sequence[SampleRequest], settings: SamplingSettings, seed: int) -> list[list[Completion]]:
        self.calls += 1
        if self.calls == self._dies_at:
            raise KeyboardInterrupt
        lots = random.Random(seed)
        return [[self._roll(request.prompt, settings, lots) for _ in range(request.count)] for request in requests]

    def log_probs(self, sequences: Sequence[tuple[int, ...]], temperature: float = 1.0) -> list[tuple[float, ...]]:
        raise NotImplementedError

    def _roll(self, prompt: tuple[int, ...], settings: SamplingSettings, lots: random.Random) -> Completion:
        question = next(p for p in self._endings if prompt[: len(p)] == p)
        prefix = prompt[len(question) :]
        texts = {tokens: p for tokens, p in self._endings[question].items() if tokens[: len(prefix)] == prefix}
        whole = lots.choices(list(texts), weights=list(texts.values()))[0]
        masses = [self._mass(texts, whole[:i]) for i in range(len(prefix), len(whole) + 1)]
        log_probs = [log(after / before) for before, after in pairwise(masses)]
        drawn = whole[len(prefix) :][: settings.max_new_tokens]
        self.usage.prefill_tokens += len(prompt)
        self.usage.decode_tokens += len(drawn)
        return Completion(drawn, tuple(log_probs[: len(drawn)]), stopped=drawn[-1] in settings.stop)

    @staticmethod
    def _mass(texts: Mapping[tuple[int, ...], float], prefix: tuple[int, ...]) -> float:
        return sum(p for tokens, p in texts.items() if tokens[: len(prefix)] == prefix)


class Bench:
    """A folder of inputs, and contexts of stages that read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = byte_tokenizer()
        self.give("tokenizer").mkdir(parents=True)
        self.tokenizer.save(self.give("tokenizer"))

    def give(self, asset: str) -> Path:
        return self.folder / asset / "out"

    def put(self, asset: str, output: str, rows: Sequence[Record], schema: pa.Schema | None = None) -> None:
        spec = JobSpec(key="k", asset=asset, run="", section={}, seed=0, inputs={}, folder=str(self.folder / asset))
        Context.of(spec).write_records(output, rows, schema or SCHEMAS[output])

    def context(self, asset: str, inputs: Sequence[str], attempt: str = "1", previous: Sequence[str] = (), **section: Any) -> Context:
        opened = {name: InputSpec(asset=name, version="v", digest="d", path=str(self.give(name))) for name in ("tokenizer", *inputs)}
        (self.folder / f"{asset}-{attempt}").mkdir(exist_ok=True)
        earlier = tuple(str(self.folder / f"{asset}-{name}") for name in previous)
        folder = str(self.folder / f"{asset}-{attempt}")
        spec = JobSpec(key="k", asset=asset, run="", section=section, seed=7, inputs=opened, folder=folder, previous=earlier)
        return Context.of(spec)


def digests(context: Context) -> dict[str, str]:
    return {output.name: output.digest for output in context.result().outputs}


def rows(context: Context, output: str) -> list[Record]:
    return [row for part in sorted((context.out / output).glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]
