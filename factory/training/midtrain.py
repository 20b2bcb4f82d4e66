"""Midtraining: the context extended by a raised rotary base, on naturally long documents and recall (Phi-4 report, section 3.3)."""

from dataclasses import replace

from factory.context import Context
from factory.training import stage
from factory.training.blend import BlendRows
from factory.training.config import MidtrainConfig
from factory.training.distributed import joined
from factory.training.objectives import NextToken
from factory.training.outputs import Vocabulary
from factory.training.shards import Shard, cluster_shards

LONG = "long_context_blend"


def run(context: Context) -> None:
    """Inputs: tokenizer, the parent, long_context_blend, pretraining_blend, token_shards/*. Outputs: as in pretraining."""
    section = stage.section(context, MidtrainConfig)
    vocabulary, parent = Vocabulary.of(context), stage.Parent.of(context, section.start_from)
    shape = parent.shape.model_copy(update={"rope_base": section.rope_base})
    with joined(section.layout, context.seed("weights")):
        rows = rows_of(context, section)
        gpt = stage.build(section, shape, vocabulary, parent)
        stage.train(context, section, shape, gpt, vocabulary, rows=rows, objective=NextToken(), steps=section.steps, parent=parent)


def rows_of(context: Context, section: MidtrainConfig) -> BlendRows:
    """The rows of the whole run; called where a world is joined."""
    vocabulary = Vocabulary.of(context)
    return BlendRows(
        context,
        long_and_recall(context),
        rows=section.rows_before(section.steps),
        length=section.sequence_length,
        eod=vocabulary.eod,
        vocab_size=vocabulary.size,
        mask_documents=section.mask_documents,
    )


def long_and_recall(context: Context) -> list[Shard]:
    """The long documents with their share, then the clusters of pretraining in their old proportions for the rest."""
    source = context.inputs[LONG]
    share = float(source.json("blend.json")["long_share"])
    recall = cluster_shards(context, context.inputs["pretraining_blend"])
    total = sum(shard.share for shard in recall)
    long = Shard(LONG, source.file("long") / "data", share)
    return [long, *(replace(shard, share=(1 - share) * shard.share / total) for shard in recall)]
