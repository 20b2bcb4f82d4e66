"""What preference optimisation reads is the pairs as they were found: the same ids, each response on its own side, nothing lost in silence.

Other trainers learn from text, so the end of a prompt may merge with its response; and one pairs the first answer against the second
whatever was preferred. The margin of a run shows neither: it widens for pairs that stand on their heads, too.
"""

from typing import Any

import pytest
from training_worlds import SHORT, World

from factory.context import Context
from factory.records import new_record
from factory.schemas import PAIR
from factory.training import dpo
from factory.training.config import DpoConfig
from factory.training.packing import Group

Ids = tuple[list[int], list[int], list[int]]
WHOLE: Ids = ([8, 9, 10], [11, 12], [13])
SINGLE: Ids = ([8], [11], [12])


def read(world: World, *pairs: Ids) -> tuple[list[Group], Context]:
    """The groups of pairs (prompt, chosen, rejected), and the context that counted them."""
    columns = {"domain": "d", "question": "", "evidence": "{}"}
    rows = [
        new_record(
            source="t", locator=str(n), text="", kind="pair", created_by="t@1", prompt=prompt, chosen=chosen, rejected=rejected, **columns
        )
        for n, (prompt, chosen, rejected) in enumerate(pairs)
    ]
    world.add_records("pivotal_pairs", "pairs", rows, PAIR)
    section: dict[str, Any] = {"start_from": "sft_checkpoint", **SHORT, "sequence_length": 10}
    context = Context.of(world.spec("dpo", "dpo", section))
    return list(dpo.pairs(context, DpoConfig.model_validate(section))), context


def test_each_side_holds_the_pair_s_own_ids_and_learns_from_the_response_alone(tmp_path) -> None:
    groups, _ = read(World(tmp_path), WHOLE, SINGLE)
    assert [group.item for group in groups] == [0, 1]
    for group, (prompt, *responses) in zip(groups, (WHOLE, SINGLE), strict=True):
        for example, response in zip(group.examples, responses, strict=True):
            assert [example.tokens[0], *example.labels] == prompt + response
            assert example.tokens[1:] == example.labels[:-1]
            assert [label for label, counts in zip(example.labels, example.counts, strict=True) if counts] == response


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (([8, 9, 10], [11, 12, 13], [14, 15, 16, 17]), "longer than a row"),
        (([], [11, 12], [13, 14]), "empty prompt or response"),
        (([8], [], [13]), "empty prompt or response"),
        (([8], [13], []), "empty prompt or response"),
    ],
)
def test_a_pair_that_cannot_be_trained_on_is_dropped_and_counted(tmp_path, pair: Ids, reason: str) -> None:
    groups, context = read(World(tmp_path), WHOLE, pair, SINGLE)
    assert [group.item for group in groups] == [0, 2], "the others keep their places in the asset, by which exposure names them"
    assert (context.counts.read, context.counts.kept, context.counts.dropped) == (3, 2, {reason: 1})
