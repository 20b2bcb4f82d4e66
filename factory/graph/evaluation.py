"""Every checkpoint examined on the same held-out problems, and the gate before a release."""

from factory.evaluation.config import EvaluationConfig
from factory.graph.preference import asking, sampled
from factory.graph.stage import Stage
from factory.recipe import Recipe

CHECKPOINTS = ("pretrained_checkpoint", "midtrained_checkpoint", "sft_checkpoint", "pivotal_dpo_checkpoint", "judged_dpo_checkpoint")
ALIGNED = ("pivotal_dpo_checkpoint", "judged_dpo_checkpoint", "judge_only_checkpoint", "rejection_dpo_checkpoint")
"""What preference training made, the ablation's arms included: their divergence from the SFT model is measured."""
BASE = ("pretrained_checkpoint", "midtrained_checkpoint")


def stages(recipe: Recipe) -> list[Stage]:
    """The evaluation group."""
    evaluations = [examination(name, recipe) for name in CHECKPOINTS]
    section = recipe.evaluation
    return [
        *evaluations,
        sampled(
            "long_context_evaluation",
            "Loss by position on long documents and recall of a value by its key, before and after midtraining.",
            "factory.evaluation.long_context:run",
            section.long_context,
            ("tokenizer", *section.long_context.checkpoints, "long_context_blend"),
            "evaluation",
        ),
        sampled(
            "safety_report",
            "Unsafe and harmless requests put to the aligned model, graded by rules (a program).",
            "factory.evaluation.safety:run",
            section.safety,
            ("tokenizer", section.safety.checkpoint),
            "evaluation",
        ),
        Stage(
            name="promotion_gate",
            group="evaluation",
            description="Which checkpoint rose, fell or did not change significantly, and whether the last one may be released.",
            run="factory.evaluation.gate:run",
            section=section.gate,
            inputs=(*(stage.name for stage in evaluations), "long_context_evaluation", "safety_report"),
            code_version=3,
            seeded=False,
        ),
    ]


def examination(checkpoint: str, recipe: Recipe, group: str = "evaluation") -> Stage:
    """The evaluation of one checkpoint; base models are prompted in the format they were trained on."""
    settings = recipe.evaluation
    section = EvaluationConfig(
        checkpoint=checkpoint,
        prompt="native" if checkpoint in BASE else "chat",
        problems=settings.problems,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        reference="sft_checkpoint" if checkpoint in ALIGNED else None,
        sampling=settings.sampling,
        checker=settings.checker,
    )
    others = ("refusals", "sft_checkpoint") if checkpoint in ALIGNED else ("refusals",)
    stage = sampled(
        f"evaluation/{checkpoint}",
        f"`{checkpoint}` on the held-out problems, greedily and sampled, with Wilson intervals, and on held-out trivia.",
        "factory.evaluation.checkpoint:run",
        section,
        ("tokenizer", checkpoint, "benchmarks", *others),
        group,
        code_version=3,
    )
    return asking(recipe, stage)
