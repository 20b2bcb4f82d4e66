"""Refusals, pivotal pairs and judged pairs: each samples a model."""

from dataclasses import replace

from pydantic import BaseModel

from factory.graph.stage import Stage
from factory.preference.config import JudgeConfig
from factory.recipe import Recipe


def stages(recipe: Recipe) -> list[Stage]:
    """The preference group."""
    preference = recipe.preference
    return [
        sampled(
            "refusals",
            "Questions around the edge of what the midtrained model knows, with honest refusals beyond it.",
            "factory.preference.refusals:run",
            preference.refusals,
            ("tokenizer", "midtrained_checkpoint", "benchmarks"),
        ),
        replace(
            sampled(
                "pivotal_pairs",
                "Tokens that decide between success and failure, found by pivotal token search, as single-token pairs.",
                "factory.preference.pivotal:run",
                preference.pivotal,
                ("tokenizer", "sft_checkpoint", "question_bank", "refusals", "benchmarks"),
            ),
            code_version=2,
        ),
        judged("judged_pairs", "Whole answers of several responders, ranked by the rubric judge (a program).", preference.judge),
    ]


def judged(name: str, description: str, section: JudgeConfig, group: str = "preference") -> Stage:
    """Judged pairs; the checkpoints that answer are the section's responders."""
    models = sorted({responder.checkpoint for responder in section.responders} - {"program"})
    inputs = ("tokenizer", *models, "question_bank", "refusals", "benchmarks")
    return sampled(name, description, "factory.preference.judge:run", section, inputs, group)


def sampled(name: str, description: str, run: str, section: BaseModel, inputs: tuple[str, ...], group: str = "preference") -> Stage:
    """A stage that samples a model in a process of its own."""
    return Stage(
        name=name,
        group=group,
        description=description,
        run=run,
        section=section,
        inputs=inputs,
        kinds=("pytorch", "parquet"),
        process=True,
        places=frozenset({"sampling.address"}),
    )
