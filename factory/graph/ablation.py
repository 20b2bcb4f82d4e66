"""The other arms of the paper's Table 9 and the control, outside of the default run: `make ablation`."""

from factory.graph.evaluation import examination
from factory.graph.preference import judged, sampled
from factory.graph.stage import Stage
from factory.graph.training import dpo
from factory.preference.config import Responder
from factory.recipe import Recipe

ARMS = ("judge_only_checkpoint", "rejection_dpo_checkpoint")


def stages(recipe: Recipe) -> list[Stage]:
    """The ablation group: judge-guided pairs alone, and rejection sampling at the pivotal search's decode budget."""
    from_sft = {"start_from": "sft_checkpoint"}
    judge_only = recipe.training.judged_dpo.model_copy(update={**from_sft, "pairs": "judge_only_pairs"})
    rejection = recipe.training.judged_dpo.model_copy(update={**from_sft, "pairs": "rejection_pairs"})
    sft_alone = tuple(Responder(checkpoint="sft_checkpoint", temperature=t) for t in (1.0, 0.7))
    return [
        judged(
            "judge_only_pairs",
            "Judged answers of the SFT model alone.",
            recipe.preference.judge.model_copy(update={"responders": sft_alone}),
            "ablation",
        ),
        sampled(
            "rejection_pairs",
            "The control: right against wrong whole answers, sampled with the decode budget of the pivotal search.",
            "factory.preference.rejection:run",
            recipe.preference.rejection,
            ("tokenizer", "sft_checkpoint", "question_bank", "pivotal_pairs", "benchmarks"),
            "ablation",
        ),
        dpo("judge_only_checkpoint", "Judged pairs without the pivotal round.", judge_only, "ablation"),
        dpo("rejection_dpo_checkpoint", "The control: rejection-sampling preference optimisation.", rejection, "ablation"),
        *(examination(arm, recipe, "ablation") for arm in ARMS),
    ]
