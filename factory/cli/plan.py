"""`factory plan`: the plan for people, and the utilisation that it reckons with."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from factory.cli.words import count, percent, size
from factory.errors import SeedmillError
from factory.plan.build import Plan, StagePlan, Utilisation, build
from factory.plan.config import GpuName
from factory.plan.gpus import GIB, GPUS
from factory.plan.refused import explain
from factory.plan.time import DAY, measured_mfu, measured_on
from factory.recipe import Recipe, load

NOT_COUNTED = (
    "not in the store's figures: documents from raw to clean, what a teacher writes, conversations, questions, pairs, and its answer cache",
    "no time is given for what samples (refusals, pivotal and judged pairs, evaluation) nor for what works on data",
    "not in the teacher's figures: checks of what the pivotal search draws after its filter, a checker's largest bill, and its control's",
)
LEAST_ROUND_MONEY = 100
"""From here on a sum of money has no cents."""
KINDS = ("weights", "gradients", "optimizer", "activations", "fp8_copies")


def plan(path: Path, gpu: GpuName | None, measured: str | None) -> Plan:
    """The plan of a recipe file; `measured` names a checkpoint whose rate on a GPU replaces the assumed utilisation.

    Raises `SeedmillError` for a recipe that cannot be read; where its rules refuse a layout, with one that works.
    """
    try:
        recipe = load(path)
    except SeedmillError as error:
        raise explain(path, gpu, error) from error
    kind = gpu or recipe.plan.gpu
    return build(recipe, kind, _utilisation(path, recipe, kind, measured))


def _utilisation(path: Path, recipe: Recipe, gpu: GpuName, measured: str | None) -> Utilisation:
    if measured is None:
        return Utilisation(recipe.plan.assumed_mfu, "assumed by the recipe")
    from factory.cli.session import Session

    manifest = Session.open(path, None).resolve(measured)
    where = " or ".join(kind.upper() for kind in measured_on(manifest)) or "a GPU that its manifest does not tell"
    return Utilisation(measured_mfu(manifest, gpu), f"measured by {manifest.asset}@{manifest.version} on {where}")


def show(made: Plan, console: Console) -> None:
    """Model, stages, memory, data, teacher, store; then what cannot work, and what does."""
    console.print(
        f"{made.experiment}: {made.parameters:,} parameters ({made.parameters_without_embeddings:,} without embedding and head), "
        f"{made.vocab_size:,} ids",
        highlight=False,
    )
    mfu = made.utilisation
    console.print(
        f"times at {percent(mfu.mfu)} of {made.gpu.upper()}'s {GPUS[made.gpu].peak / 1e12:.0f} bf16 TFLOP/s, {mfu.origin}", highlight=False
    )
    if made.published_mfu is not None:
        console.print(f"the published run of this model implies {percent(made.published_mfu)}", highlight=False)
    for table in (_batches(made), _times(made), _memory(made), _mixture(made), _store(made)):
        console.print(table)
    for line in NOT_COUNTED:
        console.print(line, highlight=False)
    _teacher(made, console)


def _batches(made: Plan) -> Table:
    names = ("stage", "GPUs", "length", "rows a step", "of", "tokens a step", "steps", "tokens")
    table = _table("batches: rows a step = micro-batch x micro-batches x replicas", *names)
    for s in made.stages:
        replicas = s.global_batch // (s.micro_batch * s.micro_batches)
        parts = f"{s.micro_batch} x {s.micro_batches} x {replicas}"
        cells = (f"{s.sequence_length:,}", f"{s.global_batch:,}", parts, f"{s.tokens_per_step:,}", f"{s.steps:,}", count(s.tokens))
        table.add_row(s.stage, f"{s.gpus:,}", *cells)
    return table


def _times(made: Plan) -> Table:
    table = _table("time", "stage", "FLOP a token", "FLOP", "bubble", "a step", "in all", "GPU-hours")
    for s in made.stages:
        cells = (count(s.flops_per_token), f"{s.flops:.3g}", percent(s.bubble), f"{s.step_seconds:.3g} s", _long(s.seconds))
        table.add_row(s.stage, *cells, f"{s.gpu_hours:,.0f}" if s.gpu_hours >= 10 else f"{s.gpu_hours:.2g}")
    return table


def _long(seconds: float) -> str:
    return f"{seconds / DAY:.1f} days" if seconds >= 2 * DAY else f"{seconds / 3600:.2g} h"


def _memory(made: Plan) -> Table:
    table = _table(
        f"memory of the fullest GPU of {GPUS[made.gpu].memory / GIB:.0f} GiB, {made.reserved_gib:g} GiB of it reserved",
        "stage",
        *(k.replace("_", " ") for k in KINDS),
        "together",
        "works",
    )
    for s in made.stages:
        sizes = [f"{getattr(s.memory, kind) / GIB:.2f}" for kind in KINDS]
        table.add_row(s.stage, *sizes, f"{s.memory.total / GIB:.2f}", "no" if s.problems else "yes")
    return table


def _mixture(made: Plan) -> Table:
    table = _table("mixture", "cluster", "share", "trained on", "unique", "epochs", "shard")
    for c in made.clusters:
        table.add_row(c.cluster, percent(c.share), count(c.trained), count(c.unique), f"{c.epochs:.1f}", size(c.bytes))
    return table


def _store(made: Plan) -> Table:
    table = _table("store", "stage", "Megatron checkpoint", "Hugging Face weights", "stays", "at most, while it runs")
    for s in made.stages:
        table.add_row(s.stage, *(size(value) for value in (s.mcore_bytes, s.hf_bytes, s.store_bytes, s.peak_bytes)))
    for name, bytes_ in made.released.items():
        table.add_row(name, "", size(bytes_), size(bytes_), size(bytes_))
    growth = sum(s.store_bytes for s in made.stages) + sum(c.bytes for c in made.clusters) + sum(made.released.values())
    table.add_row("all, with shards", "", "", size(growth), size(growth + _resumes(made.stages)))
    return table


def _resumes(stages: list[StagePlan]) -> float:
    """Stages run one after the other, so the largest one's checkpoints to resume from are all that the store must also hold."""
    return max(s.peak_bytes - s.store_bytes for s in stages)


def _teacher(made: Plan, console: Console) -> None:
    if not made.teacher:
        console.print("teacher: a program of ours, no tokens to pay for", highlight=False)
        return
    table = _table("teacher", "stage", "model", "requests", "tokens in", "tokens out", "out at most", "money")
    for t in made.teacher:
        money = "-" if t.money is None else _money(t.money)
        cells = (count(t.requests), count(t.input_tokens), count(t.output_tokens), count(t.most_output_tokens))
        table.add_row(t.stage, t.model, *cells, money)
    console.print(table)


def _money(money: float) -> str:
    return f"{money:,.0f}" if money >= LEAST_ROUND_MONEY else f"{money:.2f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in {"stage", "cluster", "model"} else "right", no_wrap=True)
    return table
