"""Packing loses nothing, wastes little, and lets no example see another."""

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rows_end_to_end import lay_end_to_end
from training_worlds import FIRST_WORD, MODEL, SHORT, VOCABULARY, LetterEncoder, run_here

from factory.training import model, objectives
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import PretrainConfig
from factory.training.distributed import joined
from factory.training.packing import Example, Group, PackedRows, epochs_of_rows, pack


@given(st.lists(st.integers(1, 32), min_size=1, max_size=200))
def test_every_item_is_packed_once_and_no_row_overflows(lengths):
    rows = pack(lengths, 32)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    assert max(sum(lengths[i] for i in row) for row in rows) <= 32


def test_rows_are_nearly_full():
    random = Random(0)
    lengths = [random.randint(20, 120) for _ in range(2000)]
    rows = pack(lengths, 256)
    assert sum(lengths) / (256 * len(rows)) > 0.97


def test_each_epoch_has_an_order_of_its_own_and_batches_are_whole():
    groups = [group(i, [FIRST_WORD + i] * 6) for i in range(10)]
    rows = epochs_of_rows(groups, 8, epochs=2, rows=None, multiple=8, random=Random(1))
    assert len(rows) == 24
    assert [sorted(i for row in half for i in row) for half in (rows[:10], rows[10:20])] == [list(range(10))] * 2
    assert rows[:10] != rows[10:20]
    assert rows[20:] == [[]] * 4


def test_only_the_assistants_tokens_and_its_end_are_learned():
    ids, counts = LetterEncoder().encode_conversation([{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}])
    batch = PackedRows("chats", [Group(0, (Example.of(ids, counts),))], [[0]], 12).batch([0])
    learned = batch["labels"][batch["loss_mask"].bool()]
    assert learned.tolist() == [FIRST_WORD + 2, 4]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_packed_example_gets_the_losses_it_gets_alone(precision):
    groups = [group(n, [FIRST_WORD + (n + 3 * i) % 50 for i in range(size)]) for n, size in enumerate((9, 13, 6))]
    with joined(LayoutConfig(), seed=5):
        (gpt,) = model.build(ModelConfig(**MODEL), PretrainConfig(precision=precision), VOCABULARY)
        gpt.eval()
        packed = objectives.token_losses(PackedRows("a", groups, [[0, 1, 2]], 32).batch([0]), gpt)[0]
        alone = [objectives.token_losses(PackedRows("a", groups, [[n]], groups[n].length).batch([0]), gpt)[0] for n in range(3)]
    tolerance = {"fp32": 1e-5, "bf16": 3e-2}[precision]
    torch.testing.assert_close(packed[:25], torch.cat(alone), atol=tolerance, rtol=tolerance)


def test_rows_laid_end_to_end_give_the_losses_of_a_mask(monkeypatch):
    """On a GPU rows are laid end to end, for attention of variable length: a stand-in for Transformer Engine's shows the bounds right."""
    groups = [group(n, [FIRST_WORD + (n + 3 * i) % 50 for i in range(size)]) for n, size in enumerate((9, 13, 32, 6))]
    batch = PackedRows("a", groups, [[0, 1], [2], [], [3]], 32).batch(range(4))
    assert objectives.rows_and_length(batch) == (4, 32)
    masked = losses_of_fresh_model(batch)
    lay_end_to_end(monkeypatch.setattr)
    assert objectives.rows_and_length(batch) == (1, 128)
    assert objectives.rows_and_length({"tokens": batch["tokens"]}) == (4, 32)
    found = losses_of_fresh_model(batch)
    counted = batch["segments"] >= 0
    torch.testing.assert_close(found[counted], masked[counted], atol=1e-5, rtol=1e-5)
    packed = objectives._variable_lengths(batch["segments"])
    assert packed.cu_seqlens_q.tolist() == packed.cu_seqlens_kv.tolist() == [0, 8, 20, 32, 63, 64, 96, 101, 128]
    assert (packed.max_seqlen_q, packed.qkv_format) == (32, "thd")


def losses_of_fresh_model(batch):
    with joined(LayoutConfig(), seed=5):
        (gpt,) = model.build(ModelConfig.model_validate(MODEL), PretrainConfig(precision="fp32"), VOCABULARY)
        return objectives.token_losses(batch, gpt.eval())


def test_fine_tuning_counts_what_does_not_fit(trained, letters):
    section = {"start_from": "pretrained_checkpoint", **SHORT, "sequence_length": 14, "epochs": 1}
    result = run_here(trained.spec("sft_counts", "sft", section))
    assert result.counts.read == 60
    assert result.counts.dropped["longer than a row"] == 60 - result.counts.kept > 0


def group(item, ids):
    return Group(item, (Example.of(ids, [1] * len(ids)),))
