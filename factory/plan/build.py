"""The plan of a recipe: every training stage, the mixture, the teacher and the store."""

from dataclasses import asdict, dataclass
from typing import Any

from factory.plan import data, layout, params, time
from factory.plan.config import GpuName
from factory.plan.gpus import GIB, GPUS, Gpu
from factory.plan.memory import Memory, checkpoint_bytes, micro_batches, predict, width
from factory.recipe import Recipe
from factory.training import flops
from factory.training.architecture import ModelConfig
from factory.training.config import TrainingConfig

KEPT_CHECKPOINTS = 2
"""Checkpoints to resume from that a running stage keeps; the trainer's own constant, whose module imports torch."""


@dataclass(frozen=True)
class Utilisation:
    """Model FLOPs over the dense bf16 peak, and where the figure comes from."""

    mfu: float
    origin: str


@dataclass(frozen=True)
class StagePlan:
    """One training stage. Sizes in bytes, times in seconds; `problems` is empty when the layout can work."""

    stage: str
    gpus: int
    sequence_length: int
    global_batch: int
    micro_batch: int
    micro_batches: int
    tokens_per_step: int
    steps: int
    tokens: int
    flops_per_token: float
    flops: float
    bubble: float
    step_seconds: float
    seconds: float
    gpu_hours: float
    memory: Memory
    mcore_bytes: float
    hf_bytes: float
    problems: list[str]
    proposal: dict[str, Any] | None

    @property
    def store_bytes(self) -> float:
        """What stays in the store."""
        return self.mcore_bytes + self.hf_bytes

    @property
    def peak_bytes(self) -> float:
        """What the store holds at most while the stage ends: also the checkpoints to resume from."""
        return self.store_bytes + KEPT_CHECKPOINTS * self.mcore_bytes


@dataclass(frozen=True)
class Plan:
    """All of it, for one kind of GPU."""

    experiment: str
    gpu: GpuName
    parameters: int
    parameters_without_embeddings: int
    vocab_size: int
    utilisation: Utilisation
    published_mfu: float | None
    reserved_gib: float
    stages: list[StagePlan]
    released: dict[str, float]
    clusters: list[data.ClusterPlan]
    teacher: list[data.TeacherPlan]

    @property
    def problems(self) -> list[str]:
        """One line for each layout that cannot work, with one that does."""
        return [f"training.{s.stage}: {'; '.join(s.problems)}. {remedy(s.proposal)}" for s in self.stages if s.problems]

    def as_json(self) -> dict[str, Any]:
        """The plan for programs, derived figures included."""
        derived = [{"memory_total": s.memory.total, "store_bytes": s.store_bytes, "peak_bytes": s.peak_bytes} for s in self.stages]
        values = asdict(self)
        values["stages"] = [stage | extra for stage, extra in zip(values["stages"], derived, strict=True)]
        values["clusters"] = [asdict(cluster) | {"epochs": cluster.epochs} for cluster in self.clusters]
        return values | {"problems": self.problems}


def build(recipe: Recipe, gpu_name: GpuName, utilisation: Utilisation) -> Plan:
    """The plan of a recipe on one kind of GPU. Raises `SeedmillError` where a stage's length follows from nothing in the recipe."""
    model, vocab_size = recipe.training.pretrain.model, params.vocabulary(recipe.tokenizer)
    number = params.total(model, vocab_size)
    pretrain_flops = flops.per_token(model, vocab_size, recipe.training.pretrain.sequence_length)
    published = recipe.plan.published
    return Plan(
        experiment=recipe.name,
        gpu=gpu_name,
        parameters=number,
        parameters_without_embeddings=number - 2 * vocab_size * model.hidden_size,
        vocab_size=vocab_size,
        utilisation=utilisation,
        published_mfu=time.published_mfu(published, pretrain_flops) if published else None,
        reserved_gib=recipe.plan.reserved_gib,
        stages=[_stage(recipe, name, model, vocab_size, GPUS[gpu_name], utilisation.mfu) for name in recipe.training.stages],
        released=_released(recipe, number),
        clusters=data.clusters(recipe, vocab_size),
        teacher=data.teacher(recipe),
    )


def _stage(recipe: Recipe, name: str, model: ModelConfig, vocab_size: int, gpu: Gpu, mfu: float) -> StagePlan:
    training = recipe.training.stages[name]
    examples = time.expected_examples(name, training, recipe.plan, recipe.synthesis.sft_conversations.conversations)
    steps = time.steps(training, *examples)
    per_token = flops.per_token(model, vocab_size, training.sequence_length)
    total = time.stage_flops(training, steps, per_token)
    seconds = total / (mfu * gpu.peak * training.layout.world_size)
    number = params.total(model, vocab_size)
    problems = layout.problems(model, training, vocab_size, gpu, recipe.plan)
    tokens_per_step = training.global_batch * training.sequence_length
    return StagePlan(
        stage=name,
        gpus=training.layout.world_size,
        sequence_length=training.sequence_length,
        global_batch=training.global_batch,
        micro_batch=training.micro_batch,
        micro_batches=micro_batches(training),
        tokens_per_step=tokens_per_step,
        steps=steps,
        tokens=training.rows_before(steps) * training.sequence_length,
        flops_per_token=per_token,
        flops=total,
        bubble=time.bubble(training),
        step_seconds=seconds / steps,
        seconds=seconds,
        gpu_hours=seconds * training.layout.world_size / 3600,
        memory=predict(model, training, vocab_size, gpu),
        mcore_bytes=checkpoint_bytes(model, training, vocab_size),
        hf_bytes=number * width(training),
        problems=problems,
        proposal=proposal(recipe, training, gpu, training.layout.world_size) if problems else None,
    )


def _released(recipe: Recipe, parameters: int) -> dict[str, float]:
    """Bytes of the two released forms of the last model."""
    gguf = 4 if recipe.release.gguf.tensor_type == "F32" else 2
    return {"hugging_face_model": float(parameters * width(recipe.training.judged_dpo)), "gguf_model": float(parameters * gguf)}


def proposal(recipe: Recipe, training: TrainingConfig, gpu: Gpu, world: int) -> dict[str, Any] | None:
    """What to write into a stage instead, for `world` GPUs or more; without what is a default anyway. None where nothing works."""
    model, vocab_size = recipe.training.pretrain.model, params.vocabulary(recipe.tokenizer)
    found = layout.propose(model, training, vocab_size, gpu, recipe.plan, world)
    if found is None:
        return None
    needed = predict(model, found, vocab_size, gpu).total / GIB
    shared = found.layout.model_dump(exclude_defaults=True)
    return {"micro_batch": found.micro_batch, "fp8": found.fp8, "layout": shared, "gpus": found.layout.world_size, "gib": round(needed, 1)}


def remedy(p: dict[str, Any] | None) -> str:
    """A proposal in words."""
    if p is None:
        return "No layout of up to 4,096 GPUs works: take a larger GPU, shorter rows or a smaller model"
    shared = ", ".join(f"{name}: {str(value).lower()}" for name, value in p["layout"].items())
    return f"This works on {p['gpus']} GPUs, in {p['gib']} GiB each: micro_batch: {p['micro_batch']}, fp8: {p['fp8']}, layout: {{{shared}}}"
