"""Refusals, pivotal pairs and judged pairs: each samples a model."""

from dataclasses import replace

from pydantic import BaseModel

from factory.errors import SeedmillError
from factory.graph.curation import from_outside
from factory.graph.stage import Stage
from factory.preference.config import JudgeConfig
from factory.preference.oracles import REVISION as GRADING
from factory.recipe import Recipe

SAMPLER = 1
"""Goes up when the local engine may draw other tokens: every stage that samples is then stale."""


def stages(recipe: Recipe) -> list[Stage]:
    """The preference group."""
    preference = recipe.preference
    return [
        *_trivia(recipe),
        _refusals(recipe),
        asking(
            recipe,
            sampled(
                "pivotal_pairs",
                "Tokens that decide between success and failure, found by pivotal token search, as single-token pairs.",
                "factory.preference.pivotal:run",
                preference.pivotal,
                ("tokenizer", "sft_checkpoint", "question_bank", "refusals", "benchmarks"),
                code_version=9,
                processes=preference.pivotal.workers,
            ),
        ),
        judged("judged_pairs", "Whole answers of several responders", recipe, preference.judge),
    ]


def _trivia(recipe: Recipe) -> list[Stage]:
    source = recipe.preference.trivia
    if source is None:
        return []
    description = f"Trivia with answers from {source.path}, licence {source.license}."
    return [from_outside("trivia_questions", description, "factory.preference.trivia_bank", source, "preference")]


def _refusals(recipe: Recipe) -> Stage:
    section, own = recipe.preference.refusals, ("trivia_questions",) if recipe.preference.trivia else ()
    if "teacher" not in section.model_fields_set:
        section = section.model_copy(update={"teacher": recipe.synthesis.teacher.identity()})
    if own and section.teacher.kind == "procedural":
        raise SeedmillError("preference.trivia needs a language model that words refusals and bogus variants: set synthesis.teacher")
    stage = sampled(
        "refusals",
        "Questions around the edge of what the midtrained model knows, with honest refusals beyond it.",
        "factory.preference.refusals:run",
        section,
        ("tokenizer", "midtrained_checkpoint", "question_bank", "benchmarks", *own),
        code_version=6,
    )
    return asking(recipe, stage)


def judged(name: str, answers: str, recipe: Recipe, section: JudgeConfig, group: str = "preference") -> Stage:
    """Judged pairs; the checkpoints that answer are the section's responders."""
    judge = "the rubric judge (a program)" if section.teacher.kind == "procedural" else section.teacher.model
    models = sorted({responder.checkpoint for responder in section.responders} - {"program", "teacher"})
    inputs = ("tokenizer", *models, "question_bank", "refusals", "benchmarks")
    stage = sampled(name, f"{answers}, ranked by {judge}.", "factory.preference.judge:run", section, inputs, group, code_version=5)
    return asking(recipe, stage)


def asking(recipe: Recipe, stage: Stage) -> Stage:
    """A stage that may ask a language model, which it reaches as synthesis reaches its teacher."""
    return replace(stage, runtime={"teacher": recipe.synthesis.teacher.runtime()})


def sampled(
    name: str,
    description: str,
    run: str,
    section: BaseModel,
    inputs: tuple[str, ...],
    group: str = "preference",
    code_version: int = 1,
    processes: int = 1,
) -> Stage:
    """A stage that samples a model in a process of its own, or in several."""
    return Stage(
        name=name,
        group=group,
        description=description,
        run=run,
        section=section,
        inputs=inputs,
        code_version=code_version + SAMPLER + GRADING,
        kinds=("pytorch", "parquet"),
        process=True,
        processes=processes,
        places=frozenset({"sampling.address", "workers"}),
    )
