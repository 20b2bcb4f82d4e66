"""A little world to train in: a fake tokenizer artefact, shards of counting sequences, and job specifications over them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from factory.job import run_stage
from factory.records import new_record
from factory.schemas import CONVERSATION, PAIR
from factory.spec import InputSpec, JobSpec, Result

VOCABULARY = 64
SPECIAL = {"<|endoftext|>": 0, "<|pad|>": 1, "<|im_start|>": 2, "<|im_sep|>": 3, "<|im_end|>": 4}
FIRST_WORD = 8
MODEL = {"layers": 2, "hidden_size": 32, "ffn_hidden_size": 48, "attention_heads": 4, "kv_heads": 2}
SHORT = {"micro_batch": 4, "global_batch": 8, "sequence_length": 32, "checkpoint_every": 4}
CHECKOUT = Path(__file__).resolve().parents[2]


class World:
    """Artefact folders under one root, and jobs that read them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inputs: dict[str, InputSpec] = {}
        self.add_tokenizer()

    def folder(self, asset: str) -> Path:
        path = self.root / "artefacts" / asset
        path.mkdir(parents=True, exist_ok=True)
        self.inputs[asset] = InputSpec(asset=asset, version="1", digest=f"digest of {asset}", path=str(path))
        return path

    def add_tokenizer(self) -> None:
        spec = {"vocab_size": VOCABULARY, "special_tokens": SPECIAL}
        (self.folder("tokenizer") / "spec.json").write_text(json.dumps(spec))

    def add_shard(self, asset: str, *, documents: int, stride: int, name: str = "shard", longest: int = 30, seed: int = 0) -> Path:
        from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

        folder = self.folder(asset) / name
        folder.mkdir()
        builder = IndexedDatasetBuilder(str(folder / "data.bin"), dtype=np.uint16)
        random = np.random.default_rng(seed)
        for _ in range(documents):
            length, start = int(random.integers(5, longest)), int(random.integers(0, 50))
            document = FIRST_WORD + (start + stride * np.arange(length + 1)) % (VOCABULARY - FIRST_WORD)
            document[-1] = SPECIAL["<|endoftext|>"]
            builder.add_item(torch.from_numpy(document))
            builder.end_document()
        builder.finalize(str(folder / "data.idx"))
        return folder

    def add_blend(self, shares: dict[str, float]) -> None:
        for number, name in enumerate(sorted(shares)):
            self.add_shard(f"token_shards/{name}", documents=60, stride=number + 1, seed=number)
        clusters = [{"name": name, "share": share} for name, share in shares.items()]
        (self.folder("pretraining_blend") / "blend.json").write_text(json.dumps({"clusters": clusters}))

    def add_long_blend(self) -> InputSpec:
        self.add_shard("long_context_blend", documents=5, stride=3, name="long", longest=300)
        (self.folder("long_context_blend") / "blend.json").write_text('{"long_share": 0.3}')
        return self.inputs["long_context_blend"]

    def add_records(self, asset: str, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        folder = self.folder(asset) / name
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "part-00000.parquet")

    def add_pairs(self, asset: str, number: int = 40) -> list[dict[str, Any]]:
        """Half single-token pairs, half full responses: `chosen` counts up, `rejected` repeats."""
        rows = []
        for n in range(number):
            first, size = FIRST_WORD + n % 40, 1 if n % 2 else 4
            tokens = {"prompt": [first, first + 1, first + 2], "chosen": [first + 3 + i for i in range(size)], "rejected": [first] * size}
            columns = {"domain": "count", "question": "", "evidence": "{}", **tokens}
            rows.append(new_record(source="test", locator=str(n), text="", kind="pair", created_by="test@1", **columns))
        self.add_records(asset, "pairs", rows, PAIR)
        return rows

    def add_conversations(self, asset: str, number: int = 60) -> None:
        messages = [
            [{"role": "user", "content": "ab" * (n % 3 + 1)}, {"role": "assistant", "content": "ba" * (n % 4 + 1)}] for n in range(number)
        ]
        rows = [
            new_record(source="test", locator=str(n), text="", kind="chat", created_by="test@1", domain="letters", messages=m)
            for n, m in enumerate(messages)
        ]
        self.add_records(asset, "conversations", rows, CONVERSATION)

    def adopt(self, asset: str, folder: Path, result: Result) -> None:
        """Make a finished job's output an input of later ones."""
        digest = next(o.digest for o in result.outputs if o.name == "mcore")
        self.inputs[asset] = InputSpec(asset=asset, version="1", digest=digest, path=str(folder / "out"))

    def spec(self, asset: str, stage: str, section: dict[str, Any], attempt: str = "1", **fields: Any) -> JobSpec:
        folder = self.root / "jobs" / f"{asset}-{attempt}"
        folder.mkdir(parents=True, exist_ok=True)
        return JobSpec(
            key=asset,
            asset=asset,
            run=f"factory.training.{stage}:run",
            section=section,
            seed=1,
            inputs=self.inputs,
            folder=str(folder),
            runtime={"cache": str(self.root / "cache")},
            **fields,
        )


def start(spec: JobSpec) -> subprocess.Popen[str]:
    """A job in a process of its own."""
    path = Path(spec.folder) / "job.json"
    path.write_text(spec.model_dump_json())
    environment = {k: v for k, v in os.environ.items() if k not in {"RANK", "WORLD_SIZE"}} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "factory.job", str(path)]
    return subprocess.Popen(command, cwd=CHECKOUT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(spec: JobSpec) -> Result:
    """Run a job to its end; its result."""
    process = start(spec)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return Result.model_validate_json((Path(spec.folder) / "result.json").read_bytes())


def run_here(spec: JobSpec) -> Result:
    """Run a single-rank job in this process: imports are paid once for all tests."""
    torch.set_num_threads(1)
    return run_stage(spec)


class LetterEncoder:
    """A tokenizer of single letters, with the interface of the real one."""

    def encode_conversation(self, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        counts: list[int] = []
        for message in messages:
            body = [FIRST_WORD + ord(letter) - ord("a") for letter in message["content"]]
            learned = int(message["role"] == "assistant")
            ids += [SPECIAL["<|im_start|>"], SPECIAL["<|im_sep|>"], *body, SPECIAL["<|im_end|>"]]
            counts += [0, 0, *([learned] * (len(body) + 1))]
        return ids, counts


def digest_of(result: Result, name: str) -> str:
    return next(o.digest for o in result.outputs if o.name == name)


def metrics_of(spec: JobSpec) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(spec.folder) / "out" / "metrics.jsonl").read_text().splitlines()]


def losses_of(spec: JobSpec) -> list[float]:
    return [row["loss"] for row in metrics_of(spec)]


def straight_and_resumed(
    world: World, asset: str, stage: str, section: dict[str, Any], keep: str
) -> tuple[JobSpec, Result, JobSpec, Result]:
    """A job run through, and one that finds only the first's part `keep`."""
    straight = world.spec(asset, stage, section, "straight")
    first = run_here(straight)
    parts = Path(straight.folder) / "parts"
    for part in parts.iterdir():
        if part.name != keep:
            shutil.rmtree(part)
    resumed = world.spec(asset, stage, section, "resumed", previous=(straight.folder,))
    return straight, first, resumed, run_here(resumed)
