"""The other arms of the paper's Table 9 and the control, outside of the default run: `make ablation`."""

from factory.evaluation.config import ArmsConfig, MatchedConfig
from factory.graph.evaluation import examination
from factory.graph.preference import asking, judged, sampled
from factory.graph.stage import Stage
from factory.graph.training import checkpoint, dpo
from factory.preference.config import Responder
from factory.recipe import Recipe

TRAINED = ("judge_only_checkpoint", "rejection_dpo_checkpoint", "sft_without_refusals_checkpoint")
"""Checkpoints that only the ablation makes."""
ARMS = ("sft_checkpoint", "pivotal_dpo_checkpoint", "judge_only_checkpoint", "judged_dpo_checkpoint", "rejection_dpo_checkpoint")
MATCHED = ARMS[1:]
"""Beside each of which stands the SFT model that is as certain: how much of a rise is mere sharpening."""


def stages(recipe: Recipe) -> list[Stage]:
    """Judged pairs alone, rejection sampling at the pivotal search's decode budget, fine-tuning without refusals; and the report."""
    from_sft = {"start_from": "sft_checkpoint"}
    judge_only = recipe.training.judged_dpo.model_copy(update={**from_sft, "pairs": "judge_only_pairs"})
    rejection = recipe.training.judged_dpo.model_copy(update={**from_sft, "pairs": "rejection_pairs"})
    sft_alone = tuple(Responder(checkpoint="sft_checkpoint", temperature=t) for t in (1.0, 0.7))
    return [
        judged(
            "judge_only_pairs",
            "Answers of the SFT model alone",
            recipe,
            recipe.preference.judge.model_copy(update={"responders": sft_alone}),
            "ablation",
        ),
        asking(
            recipe,
            sampled(
                "rejection_pairs",
                "The control: right against wrong whole answers, sampled with the decode budget of the pivotal search.",
                "factory.preference.rejection:run",
                recipe.preference.rejection,
                ("tokenizer", "sft_checkpoint", "question_bank", "pivotal_pairs", "benchmarks"),
                "ablation",
                code_version=2,
            ),
        ),
        dpo("judge_only_checkpoint", "Judged pairs without the pivotal round.", judge_only, "ablation"),
        dpo("rejection_dpo_checkpoint", "The control: rejection-sampling preference optimisation.", rejection, "ablation"),
        checkpoint(
            "sft_without_refusals_checkpoint",
            "Supervised fine-tuning on the same chats without the refusals.",
            "factory.training.sft:run",
            recipe.training.sft.model_copy(update={"leave_out": ("refusal",)}),
            ("tokenizer", recipe.training.sft.start_from, recipe.training.sft.conversations),
            "ablation",
        ),
        *(examination(arm, recipe, "ablation") for arm in TRAINED),
        *(_matched(arm, recipe) for arm in MATCHED),
        _report(),
    ]


def _matched(name: str, recipe: Recipe) -> Stage:
    settings = recipe.evaluation
    section = MatchedConfig(
        checkpoint=name,
        problems=settings.problems,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        sampling=settings.sampling,
    )
    return sampled(
        f"matched_evaluation/{name}",
        f"The SFT model sampled at the temperature that makes it as certain as `{name}`: what mere sharpening gives.",
        "factory.evaluation.matched:run",
        section,
        ("tokenizer", "sft_checkpoint", name, "benchmarks"),
        "ablation",
    )


def _report() -> Stage:
    section = ArmsConfig(arms=ARMS, matched=MATCHED)
    examined = (*ARMS, section.without_refusals)
    return Stage(
        name="ablation_report",
        group="ablation",
        description="All arms side by side on the same held-out problems, and what the refusals do to trivia.",
        run="factory.evaluation.arms:run",
        code_version=2,
        section=section,
        inputs=(*(f"evaluation/{name}" for name in examined), *(f"matched_evaluation/{name}" for name in MATCHED)),
        seeded=False,
    )
