"""What leaves the factory: the Hugging Face model, the GGUF file and the card."""

from factory.graph.stage import Stage
from factory.recipe import Recipe


def stages(recipe: Recipe) -> list[Stage]:
    """The release group."""
    release = recipe.release
    return [
        Stage(
            name="hugging_face_model",
            group="release",
            description="The aligned model for `transformers`, checked logit by logit against the trainer's own.",
            run="factory.release.hugging_face:run",
            section=release.hugging_face,
            inputs=("tokenizer", "judged_dpo_checkpoint"),
            kinds=("huggingface", "pytorch"),
            seeded=False,
            process=True,
        ),
        Stage(
            name="gguf_model",
            group="release",
            description="The same weights as GGUF with a Modelfile, for llama.cpp and Ollama.",
            run="factory.release.gguf:run",
            section=release.gguf,
            inputs=("tokenizer", "hugging_face_model"),
            kinds=("gguf",),
            seeded=False,
        ),
        Stage(
            name="model_card",
            group="release",
            description="The card, written from the manifests of everything that the model was made from.",
            run="factory.release.card:run",
            section=release.card,
            inputs=("hugging_face_model", "promotion_gate"),
            code_version=3,
            kinds=("markdown",),
            seeded=False,
            needs_manifests=True,
        ),
    ]
