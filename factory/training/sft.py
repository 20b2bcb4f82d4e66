"""Supervised fine-tuning on packed conversations, with loss on the assistant's tokens only (Phi-4 report, section 4.1)."""

from collections.abc import Iterator
from random import Random

from factory.context import Context
from factory.errors import SeedmillError
from factory.tokens import tokenizer
from factory.training import stage
from factory.training.config import PackedConfig, SftConfig
from factory.training.distributed import joined
from factory.training.objectives import NextToken
from factory.training.outputs import Vocabulary
from factory.training.packing import Example, Group, PackedRows, epochs_of_rows


def run(context: Context) -> None:
    """Inputs: tokenizer, the parent, the conversations. Outputs: mcore, hf, metrics.jsonl, exposure."""
    section = stage.section(context, SftConfig)
    vocabulary, parent = Vocabulary.of(context), stage.Parent.of(context, section.start_from)
    packed = rows_of(context, section)
    with joined(section.layout, context.seed("weights")):
        gpt = stage.build(section, parent.shape, vocabulary, parent)
        steps = len(packed) // section.global_batch
        stage.train(context, section, parent.shape, gpt, vocabulary, rows=packed, objective=NextToken(), steps=steps, parent=parent)


def rows_of(context: Context, section: SftConfig) -> PackedRows:
    """The rows of the whole run."""
    return packed_rows(section, section.conversations, list(conversations(context, section)), context.random("order"))


def conversations(context: Context, section: SftConfig) -> Iterator[Group]:
    """The conversations of the wanted domains that fit a row, as groups of one; others are dropped and counted."""
    encoder = tokenizer.load(context.inputs["tokenizer"].path)
    for item, record in enumerate(context.inputs[section.conversations].records("conversations", ["messages", "domain"])):
        ids, counts = encoder.encode_conversation(record["messages"])
        if record["domain"] in section.leave_out:
            context.drop("left out")
        elif len(ids) - 1 > section.sequence_length:
            context.drop("longer than a row")
        elif not any(counts[1:]):
            context.drop("nothing to learn")
        else:
            context.keep()
            yield Group(item, (Example.of(ids, counts),))


def packed_rows(section: PackedConfig, asset: str, groups: list[Group], random: Random) -> PackedRows:
    """All rows of all epochs, a whole number of global batches; raises when there is nothing to train on."""
    if not groups:
        raise SeedmillError(f"{asset} has nothing that fits {section.sequence_length} tokens: raise sequence_length or look at its counts")
    rows = None if section.steps is None else section.steps * section.global_batch
    layout = epochs_of_rows(groups, section.sequence_length, epochs=section.epochs, rows=rows, multiple=section.global_batch, random=random)
    return PackedRows(asset, groups, layout, section.sequence_length)
