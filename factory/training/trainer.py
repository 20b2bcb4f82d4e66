"""The training loop: one for every objective, at every layout, on any device.

A step's rows are a function of its number alone, and a checkpoint holds all other state, so a job killed anywhere and started
again ends with the same bits. One small all-reduce a step carries loss and counts to every rank, and with them whether any rank
was asked to stop, or still writes a checkpoint: all save, and all seal what they saved, at the same step.
"""

import json
import math
import resource
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record
from factory.training import checkpoint, flops, seal, shadow
from factory.training import optimizer as optimizers
from factory.training.architecture import ModelConfig
from factory.training.config import TrainingConfig
from factory.training.distributed import from_main, is_main, speaks_for_loss, sum_over_world
from factory.training.megatron import HAS_GPU, get_forward_backward_func, parallel_state
from factory.training.model import Chunks
from factory.training.objectives import REPORT, ForwardStep, rows_and_length
from factory.training.rates import Rates
from factory.training.rows import Batch, Rows
from factory.training.saver import Saver

TERMINATED = 143
KEPT_CHECKPOINTS = 2
RECENT_STEPS = 64


class Objective(Protocol):
    """What is minimised, and the names of the sums that its report holds after the number of units."""

    @property
    def reports(self) -> tuple[str, ...]:
        """The names of the sums, in order; the first is `loss`."""
        ...

    @property
    def forward(self) -> ForwardStep:
        """Megatron's forward step."""
        ...


class Trainer:
    """One training run of `steps` optimiser steps over `rows`; `run` resumes from the newest part that earlier attempts left."""

    def __init__(
        self,
        context: Context,
        training: TrainingConfig,
        shape: ModelConfig,
        model: Chunks,
        *,
        rows: Rows,
        objective: Objective,
        steps: int,
        vocab_size: int,
    ) -> None:
        self.context, self.training, self.model, self.rows, self.objective, self.steps = context, training, model, rows, objective, steps
        self.optimizer = optimizers.build(model, training)
        self.scheduler = optimizers.schedule(self.optimizer, training.optimizer, steps)
        self.counters = checkpoint.Counters()
        self.metrics: list[dict[str, float]] = []
        self.rates = Rates(flops.per_token(shape, vocab_size, training.sequence_length), training.layout.world_size, steps)
        self.saver = Saver(context, KEPT_CHECKPOINTS)
        self._asked_to_stop = False

    def run(self) -> None:
        """Train to the last step. On SIGTERM: save where it is, exit with status 143."""
        self._resume()
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        for chunk in self.model:
            chunk.train()
        self.rates.begin(self.counters.tokens)
        first, started, cpu = self.counters.tokens, time.monotonic(), time.process_time()
        while self.counters.step < self.steps:
            stop = self.step()
            due = self.counters.step % self.training.checkpoint_every == 0
            if stop or (due and self.counters.step < self.steps):
                self.saver.begin(self.counters.step, self._write_part)
            if stop:
                self.saver.settle()
                sys.exit(TERMINATED)
        self.saver.settle()
        self._measure(self.counters.tokens - first, time.monotonic() - started, time.process_time() - cpu)

    def step(self) -> bool:
        """One optimiser step; returns whether some rank was asked to stop."""
        rate, reference = self.optimizer.param_groups[0]["lr"], self._shadow()
        *sums, tokens, stop, writing = self._gradients()
        means = self._means(sums)
        if reference is not None:
            shadow.compare(self._measured(means), reference, self.training.shadow, self.counters.step)
        usable, limit = math.isfinite(means["loss"]) and means["loss"] < self._limit("loss"), self._limit("grad_norm")
        norm = optimizers.guarded_step(self.optimizer, self.training.optimizer.clip, usable=usable, limit=limit)
        self.scheduler.step(increment=1)
        self._count(int(tokens), norm)
        self.metrics.append(
            {
                "step": self.counters.step,
                **means,
                "lr": rate,
                "grad_norm": math.nan if norm is None else norm,
                "tokens": self.counters.tokens,
            }
        )
        self._tell(self.metrics[-1])
        if not writing:
            self.saver.settle()
        return stop > 0

    def _tell(self, row: dict[str, float]) -> None:
        """Let whoever watches see this step: what it learned, and how fast."""
        rates = self.rates.step(self.counters.step, self.counters.tokens)
        learned = {name: row[name] for name in ("loss", "lr", "grad_norm") if math.isfinite(row[name])}
        if is_main():
            self.context.progress(self.counters.step, self.steps, "steps", **learned, **rates)

    def _gradients(self) -> list[float]:
        """Fresh gradients of this step, and the world's sums as `_forward_backward` has them."""
        for chunk in self.model:
            chunk.zero_grad_buffer()
        self.optimizer.zero_grad()
        return self._forward_backward().tolist()

    def _shadow(self) -> shadow.Measured | None:
        """What this step is in BF16, where FP8 is to be held against it."""
        if not shadow.due(self.training, self.counters.step):
            return None
        with shadow.in_bf16(self.model):
            *sums, _, _, _ = self._gradients()
            return self._measured(self._means(sums))

    def _measured(self, means: dict[str, float]) -> shadow.Measured:
        self.optimizer.prepare_grads()
        return shadow.Measured(means["loss"], float(self.optimizer.get_grad_norm()))

    def _forward_backward(self) -> torch.Tensor:
        """Gradients of one step; returns the world's sums: the objective's report, tokens, requests to stop, ranks writing."""
        batches = list(self._micro_batches())
        rows, length = rows_and_length(batches[0])
        tokens = sum(float((b["segments"] >= 0).sum()) if "segments" in b else b["tokens"].numel() for b in batches)
        reports = get_forward_backward_func()(
            forward_step_func=self.objective.forward,
            data_iterator=iter(batches) if len(self.model) == 1 else [iter(batches) for _ in self.model],
            model=[*self.model],
            num_microbatches=len(batches),
            seq_length=length,
            micro_batch_size=rows,
            forward_only=False,
        )
        sums = torch.zeros(len(self.objective.reports) + 4, dtype=torch.float64)
        if speaks_for_loss():
            sums[:-3] = torch.stack([r[REPORT] for r in reports]).sum(0).cpu()
            sums[-3] = tokens / self.training.layout.context
        sums[-2:] = torch.tensor([self._asked_to_stop, self.saver.busy])
        return sum_over_world(sums)

    def _micro_batches(self) -> Iterator[Batch]:
        """The micro-batches of this rank in this step: the same rows make up a step at every layout."""
        step, size = self.counters.step, self.training.micro_batch
        first, end = self.training.rows_before(step), self.training.rows_before(step + 1)
        replicas, replica = parallel_state.get_data_parallel_world_size(), parallel_state.get_data_parallel_rank()
        for number in range((end - first) // (size * replicas)):
            start = first + (number * replicas + replica) * size
            yield self.rows.batch(range(start, start + size))

    def _means(self, sums: list[float]) -> dict[str, float]:
        units = max(sums[0], 1.0)
        return {name: value / units for name, value in zip(self.objective.reports, sums[1:], strict=True)}

    def _limit(self, name: str) -> float:
        """What `name` must stay below in a step that counts: anything finite, or the recipe's multiple of its recent median."""
        recent = [row[name] for row in self.metrics[-RECENT_STEPS:] if math.isfinite(row["grad_norm"])]
        if self.training.spike is None or len(recent) < RECENT_STEPS // 2:
            return math.inf
        return self.training.spike * statistics.median(recent)

    def _count(self, tokens: int, norm: float | None) -> None:
        counters = self.counters
        counters.step += 1
        counters.tokens += tokens
        counters.bad_in_a_row = 0 if norm is not None else counters.bad_in_a_row + 1
        counters.skipped += norm is None
        if counters.bad_in_a_row >= self.training.max_bad_steps:
            self.saver.settle()
            raise SeedmillError(
                f"{self.context.spec.asset}: loss or gradient spiking or not finite for {counters.bad_in_a_row} steps "
                f"up to step {counters.step}: lower optimizer.lr, lengthen optimizer.warmup, "
                f"or look at what these steps read, in {self._tell_bad_steps()}"
            )

    def _tell_bad_steps(self) -> Path:
        """Write what each of the last bad steps read, as in the records of exposure, which a run that stops does not come to."""
        path, last = Path(self.context.spec.folder) / "bad_steps.jsonl", self.counters.step
        if is_main():
            steps = range(last - self.counters.bad_in_a_row + 1, last + 1)
            records = ({"step": step, **record} for step in steps for record in self._read_at(step))
            path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    def _read_at(self, step: int) -> Iterator[Record]:
        return self.rows.items(range(self.training.rows_before(step - 1), self.training.rows_before(step)))

    def _ask_to_stop(self, *_: object) -> None:
        self._asked_to_stop = True

    def _write_part(self, folder: Path) -> checkpoint.Writing:
        """Begin a checkpoint to resume from, which is written while training goes on."""
        if is_main():
            write_metrics(folder / "metrics.jsonl", self.metrics)
            seal.write(folder, {})
        return checkpoint.begin(_made(folder / "mcore"), self.model, self.optimizer, self.scheduler, self.counters)

    def save(self, folder: Path) -> None:
        """Write a whole checkpoint into a new folder; every rank calls it."""
        checkpoint.save(_made(folder), self.model, self.optimizer, self.scheduler, self.counters)

    def _resume(self) -> None:
        found = self.saver.newest()
        if found is None:
            return
        checkpoint.check(found)
        self.counters = checkpoint.load(found / "mcore", self.model, self.optimizer, self.scheduler)
        self.metrics = read_metrics(found / "metrics.jsonl")
        if is_main():
            self.context.log(f"resumed at step {self.counters.step} of {self.steps}")

    def _measure(self, tokens: int, seconds: float, cpu_seconds: float) -> None:
        """Figures of this attempt: rates are over all ranks; they are no part of any digest."""
        total_cpu = float(sum_over_world(torch.tensor([cpu_seconds], dtype=torch.float64))[0])
        rate = tokens / max(seconds, 1e-9)
        if HAS_GPU:
            self.context.cost.gpu_seconds += seconds * self.training.layout.world_size
        self.context.metrics.update(
            self.last_metrics(),
            steps=self.steps,
            tokens=self.counters.tokens,
            skipped_steps=self.counters.skipped,
            speed=self.rates.points,
            cpu_seconds_of_all_ranks=round(total_cpu, 1),
            tokens_per_cpu_second=round(tokens / max(total_cpu, 1e-9), 1),
            **self.rates.of(rate),
            seconds_saving=round(self.saver.seconds, 3),
            peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        )

    def last_metrics(self) -> dict[str, Any]:
        """The objective's means over the last 5 % of the steps, under `final_NAME`."""
        last = [row for row in self.metrics[-max(1, len(self.metrics) // 20) :] if math.isfinite(row["loss"])]
        return {f"final_{name}": round(sum(m[name] for m in last) / max(len(last), 1), 5) for name in self.objective.reports}


def _made(folder: Path) -> Path:
    """A new folder that rank 0 made, on every rank."""
    if is_main():
        folder.mkdir()
    return from_main(folder)


def write_metrics(path: Path, metrics: list[dict[str, float]]) -> None:
    """One JSON line a step, what is not finite as null. No times: the same run writes the same bytes."""
    rows = ({name: value if math.isfinite(value) else None for name, value in row.items()} for row in metrics)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """What `write_metrics` wrote, null as NaN."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]
