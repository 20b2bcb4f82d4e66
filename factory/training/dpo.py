"""Direct preference optimisation against a frozen reference (Phi-4 report, section 4.2): pivotal tokens and full responses alike.

A single-token pair is a pair whose responses have one token. The reference is the checkpoint that training starts from, so its
log-probabilities are computed once, before the first step, and kept by content for every other run that asks for the same.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from factory.context import Context
from factory.training import stage
from factory.training.config import DpoConfig
from factory.training.distributed import joined
from factory.training.objectives import Preference
from factory.training.outputs import Vocabulary
from factory.training.packing import Example, Group, PackedRows
from factory.training.reference import log_probabilities
from factory.training.rows import Batch
from factory.training.sft import packed_rows


class PairRows(PackedRows):
    """Packed pairs with their reference log-probabilities, [groups, 2], and the lengths of their responses."""

    reference: np.ndarray

    def batch(self, indices: Sequence[int]) -> Batch:
        """As packed rows, plus `reference` and `lengths` [pairs, 2] in the order of `segments`."""
        groups = [g for i in indices for g in self.rows[i]]
        lengths = [[sum(e.counts) for e in self.groups[g].examples] for g in groups]
        extra = {
            "reference": torch.from_numpy(self.reference[groups]).reshape(-1, 2),
            "lengths": torch.tensor(lengths, dtype=torch.float32).reshape(-1, 2),
        }
        return super().batch(indices) | extra


def run(context: Context) -> None:
    """Inputs: tokenizer, the parent, the pairs. Outputs: mcore, hf, metrics.jsonl, exposure."""
    section = stage.section(context, DpoConfig)
    vocabulary, parent = Vocabulary.of(context), stage.Parent.of(context, section.start_from)
    rows = rows_of(context, section)
    with joined(section.layout, context.seed("weights")):
        gpt = stage.build(section, parent.shape, vocabulary, parent)
        rows.reference = log_probabilities(context, section, gpt, rows.groups, parent)
        stage.train(
            context,
            section,
            parent.shape,
            gpt,
            vocabulary,
            rows=rows,
            objective=Preference(section.beta, section.nll_weight),
            steps=len(rows) // section.global_batch,
            parent=parent,
        )


def rows_of(context: Context, section: DpoConfig) -> PairRows:
    """The rows of the whole run; their `reference` is to be filled in before a batch is asked for."""
    packed = packed_rows(section, section.pairs, list(pairs(context, section)), context.random("order"))
    return PairRows(packed.asset, packed.groups, packed.rows, packed.length)


def pairs(context: Context, section: DpoConfig) -> Iterator[Group]:
    """The pairs that fit a row, as groups of two examples (chosen, rejected); others are dropped and counted."""
    columns = ["prompt", "chosen", "rejected"]
    for item, record in enumerate(context.inputs[section.pairs].records("pairs", columns)):
        prompt, responses = record["prompt"], (record["chosen"], record["rejected"])
        group = Group(item, tuple(Example.of(prompt + r, [0] * len(prompt) + [1] * len(r)) for r in responses))
        if not prompt or not all(responses):
            context.drop("empty prompt or response")
        elif group.length > section.sequence_length:
            context.drop("longer than a row")
        else:
            context.keep()
            yield group
