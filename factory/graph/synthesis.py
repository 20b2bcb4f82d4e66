"""What the teacher writes: rewrites, synthetic documents, conversations."""

from factory.graph.curation import from_outside
from factory.graph.stage import Stage
from factory.preference.oracles import REVISION as GRADING
from factory.recipe import Recipe
from factory.synthesis.config import ConversationConfig


def stages(recipe: Recipe) -> list[Stage]:
    """The synthesis group. Refusal data samples the midtrained model, so conversations wait for it."""
    synthesis = recipe.synthesis
    teacher = {"teacher": synthesis.teacher.runtime()}
    who = f"the teacher {synthesis.teacher.model}" + (
        " (a program, not a language model)" if synthesis.teacher.kind == "procedural" else ""
    )
    chats = [_chats(name, recipe) for name in recipe.chats]
    return [
        *chats,
        Stage(
            name="web_rewrites",
            group="synthesis",
            description=f"Seed passages and questions rewritten as exercises, discussions and threads by {who}.",
            run="factory.synthesis.rewrites:run",
            section=synthesis.web_rewrites,
            inputs=("seed_passages", "question_bank"),
            kinds=("python", "parquet"),
            runtime=teacher,
        ),
        Stage(
            name="synthetic_documents",
            group="synthesis",
            description=f"Exercises, worked answers, traced programs and reversed instructions by {who}; code is kept when it runs true.",
            run="factory.synthesis.documents:run",
            section=synthesis.synthetic_documents,
            inputs=("seed_passages", "question_bank"),
            kinds=("python", "parquet"),
            runtime=teacher,
        ),
        Stage(
            name="sft_conversations",
            group="synthesis",
            description="Chats for supervised fine-tuning: problems in three styles, instructions, identity, safety and honest refusals.",
            run="factory.synthesis.conversations:run",
            section=_conversations(recipe),
            inputs=("question_bank", "synthetic_documents", "refusals", "benchmarks", *(stage.name for stage in chats)),
            code_version=2 + (0 if synthesis.sft_conversations.teacher.kind == "procedural" else GRADING),
            kinds=("python", "parquet"),
            runtime=teacher,
        ),
    ]


def _conversations(recipe: Recipe) -> ConversationConfig:
    """The fine-tuning set's section; imported chats are decontaminated as documents are."""
    section = recipe.synthesis.sft_conversations
    if not recipe.chats or section.decontamination:
        return section
    return section.model_copy(update={"decontamination": recipe.curation.decontamination})


def _chats(name: str, recipe: Recipe) -> Stage:
    source = recipe.chats[name]
    description = f"Conversations of one's own, on {source.domain}, from {source.path}, licence {source.license}."
    return from_outside(f"chats/{name}", description, "factory.synthesis.chat_bank", source, "synthesis")
