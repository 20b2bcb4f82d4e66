"""The five checkpoints of the paper's order, each made by the one trainer."""

from factory.graph.stage import Stage
from factory.graph.tokens import shard_names
from factory.recipe import IMPORTED, Recipe
from factory.training.config import DpoConfig, ImportConfig, TrainingConfig


def stages(recipe: Recipe) -> list[Stage]:
    """The training group."""
    training, shards = recipe.training, shard_names(recipe)
    imported = [_imported(training.imported)] if training.imported else []
    return [
        *imported,
        checkpoint(
            "pretrained_checkpoint",
            "Next-token prediction on the mixture, from fresh weights.",
            "factory.training.pretrain:run",
            training.pretrain,
            ("tokenizer", *(stage.name for stage in imported), "pretraining_blend", *shards),
        ),
        checkpoint(
            "midtrained_checkpoint",
            "Four times the context at a tenth of the rate, with a higher rotary base: long data and recall.",
            "factory.training.midtrain:run",
            training.midtrain,
            ("tokenizer", training.midtrain.start_from, "pretraining_blend", "long_context_blend", *shards),
        ),
        checkpoint(
            "sft_checkpoint",
            "Supervised fine-tuning on chats: loss on the assistant's tokens only.",
            "factory.training.sft:run",
            training.sft,
            ("tokenizer", training.sft.start_from, training.sft.conversations),
        ),
        dpo("pivotal_dpo_checkpoint", "Direct preference optimisation on single pivotal tokens (first round).", training.pivotal_dpo),
        dpo("judged_dpo_checkpoint", "Direct preference optimisation on judged whole answers (second round).", training.judged_dpo),
    ]


def _imported(section: ImportConfig) -> Stage:
    """Somebody else's weights, in the lineage as a source is: by their content."""
    return Stage(
        name=IMPORTED,
        group="training",
        description=f"A Hugging Face checkpoint to go on from, licence {section.license}.",
        run="factory.training.imported:run",
        section=section,
        inputs=("tokenizer",),
        code_version=2,
        kinds=("huggingface", "pytorch"),
        seeded=False,
        process=True,
        observe="factory.training.import_source:observe",
        places=frozenset({"folder"}),
    )


def dpo(name: str, description: str, section: DpoConfig, group: str = "training") -> Stage:
    """A checkpoint of direct preference optimisation."""
    return checkpoint(name, description, "factory.training.dpo:run", section, ("tokenizer", section.start_from, section.pairs), group)


def checkpoint(name: str, description: str, run: str, section: TrainingConfig, inputs: tuple[str, ...], group: str = "training") -> Stage:
    """A training stage: a process a rank, one thread each (more threads a rank were slower on every machine tried)."""
    return Stage(
        name=name,
        group=group,
        description=description,
        run=run,
        section=section,
        inputs=inputs,
        code_version=2,
        kinds=("pytorch", "megatron"),
        process=True,
        processes=section.layout.world_size,
    )
