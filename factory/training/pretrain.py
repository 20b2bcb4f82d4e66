"""Pretraining: next-token prediction on the blend of token shards (Phi-4 report, section 3), from fresh weights or imported ones."""

from factory.context import Context
from factory.errors import SeedmillError
from factory.training import mixture, stage
from factory.training.blend import BlendRows
from factory.training.config import PretrainConfig
from factory.training.distributed import joined
from factory.training.objectives import NextToken
from factory.training.outputs import Vocabulary
from factory.training.shards import cluster_shards


def run(context: Context) -> None:
    """Inputs: tokenizer, pretraining_blend, token_shards/*, `start_from` if any. Outputs: mcore, hf, metrics.jsonl, exposure."""
    section = stage.section(context, PretrainConfig)
    vocabulary, parent = Vocabulary.of(context), _parent(context, section)
    with joined(section.layout, context.seed("weights")):
        rows = rows_of(context, section)
        gpt = stage.build(section, section.model, vocabulary, parent)
        stage.train(context, section, section.model, gpt, vocabulary, rows=rows, objective=NextToken(), steps=section.steps, parent=parent)


def rows_of(context: Context, section: PretrainConfig) -> BlendRows:
    """The rows of the whole run; called where a world is joined."""
    vocabulary, shards = Vocabulary.of(context), cluster_shards(context, context.inputs["pretraining_blend"])
    return BlendRows(
        context,
        shards,
        rows=section.rows_before(section.steps),
        length=section.sequence_length,
        eod=vocabulary.eod,
        vocab_size=vocabulary.size,
        mask_documents=section.mask_documents,
        order=mixture.order(mixture.phases(section, shards)) if section.mixture_changes else None,
    )


def _parent(context: Context, section: PretrainConfig) -> stage.Parent | None:
    """The checkpoint to start from, once its shape is known to be the recipe's."""
    if section.start_from is None:
        return None
    parent = stage.Parent.of(context, section.start_from)
    wanted, found = (model.model_dump(exclude={"init_std", "embedding_std"}) for model in (section.model, parent.shape))
    if wanted != found:
        differ = ", ".join(f"{name} {value}" for name, value in found.items() if wanted[name] != value)
        raise SeedmillError(f"{section.start_from} has another shape than the recipe's model ({differ}): set training.pretrain.model to it")
    return parent
