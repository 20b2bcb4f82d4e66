"""Pretraining: next-token prediction on the blend of token shards, from fresh weights (Phi-4 report, section 3)."""

from factory.context import Context
from factory.training import stage
from factory.training.blend import BlendRows, cluster_shards
from factory.training.config import PretrainConfig
from factory.training.distributed import joined
from factory.training.objectives import NextToken
from factory.training.outputs import Vocabulary


def run(context: Context) -> None:
    """Inputs: tokenizer, pretraining_blend, token_shards/*. Outputs: mcore, hf, metrics.jsonl, exposure."""
    section = context.section(PretrainConfig)
    vocabulary = Vocabulary.of(context)
    with joined(section.layout, context.seed("weights")):
        rows = BlendRows(
            context,
            cluster_shards(context, context.inputs["pretraining_blend"]),
            rows=section.steps * section.global_batch,
            length=section.sequence_length,
            eod=vocabulary.eod,
            vocab_size=vocabulary.size,
        )
        gpt = stage.build(section, section.model, vocabulary)
        objective = NextToken(vocabulary.eod if section.mask_documents else None)
        stage.train(context, section, section.model, gpt, vocabulary, rows=rows, objective=objective, steps=section.steps)
