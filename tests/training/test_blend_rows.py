"""A blend is drawn in its shares, every time alike, and a broken shard is one clear error."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from training_worlds import MODEL, SHORT, VOCABULARY, metrics_of, run_here

from factory.errors import SeedmillError

SECTION = {"model": MODEL, "steps": 10, **SHORT}


def spec_of(world, **fields):
    return world.spec("pretrained_checkpoint", "pretrain", SECTION | fields)


def test_rows_are_drawn_in_the_shares_of_the_blend(world):
    spec = spec_of(world)
    run_here(spec)
    rows = pq.read_table(Path(spec.folder) / "out" / "exposure").to_pylist()
    drawn = {asset: sum(r["rows"] for r in rows if r["asset"] == asset) for asset in ("token_shards/web", "token_shards/code")}
    assert drawn == {"token_shards/web": 20, "token_shards/code": 60}
    assert sum(r["tokens"] for r in rows) == metrics_of(spec)[-1]["tokens"] == 10 * 8 * 32


def test_a_masked_document_boundary_changes_the_loss_and_nothing_else(world):
    plain, masked = spec_of(world), world.spec("pretrained_checkpoint", "pretrain", SECTION | {"mask_documents": True}, "masked")
    assert run_here(plain).metrics["final_loss"] != run_here(masked).metrics["final_loss"]
    assert [m["tokens"] for m in metrics_of(plain)] == [m["tokens"] for m in metrics_of(masked)]


def shard(world):
    return Path(world.inputs["token_shards/code"].path) / "shard"


def test_a_missing_shard_is_one_clear_error(world):
    (shard(world) / "data.bin").unlink()
    with pytest.raises(SeedmillError, match=r"token_shards/code holds no data\.bin .* build the shard again"):
        run_here(spec_of(world))


def test_a_truncated_shard_is_one_clear_error(world):
    data = shard(world) / "data.bin"
    data.write_bytes(data.read_bytes()[:-2])
    with pytest.raises(SeedmillError, match=r"token_shards/code: data\.bin has \d+ bytes but its index counts \d+"):
        run_here(spec_of(world))


def flipped(index, at):
    return index[:at] + bytes([index[at] ^ 1]) + index[at + 1 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index[:20], r"data\.idx is not a Megatron index"),
        (lambda index: index[:17] + bytes([99]) + index[18:], r"data\.idx is not a Megatron index"),
        (lambda index: index[:60], r"data\.idx has 60 bytes but its counts ask for \d+"),
        (lambda index: index[:-8], r"data\.idx has \d+ bytes but its counts ask for \d+"),
        (lambda index: index[:-400], r"data\.idx has \d+ bytes but its counts ask for \d+"),
        (lambda index: index + b"more", r"data\.idx has \d+ bytes but its counts ask for \d+"),
        (lambda index: flipped(index, 40), r"data\.idx contradicts itself"),
        (lambda index: flipped(index, 34 + 4 * 60 + 80), r"data\.idx contradicts itself"),
        (lambda index: flipped(index, len(index) - 24), r"data\.idx contradicts itself"),
    ],
)
def test_a_damaged_index_is_one_clear_error(world, change, message):
    index = shard(world) / "data.idx"
    index.write_bytes(change(index.read_bytes()))
    with pytest.raises(SeedmillError, match=f"token_shards/code: {message}: build the shard again"):
        run_here(spec_of(world))


def test_a_blend_that_was_cut_is_one_clear_error(world):
    blend = Path(world.inputs["pretraining_blend"].path) / "blend.json"
    blend.write_text(blend.read_text()[:20])
    with pytest.raises(SeedmillError, match=r"pretraining_blend 1: blend\.json is not as it was written .*: rebuild pretraining_blend"):
        run_here(spec_of(world))


def test_shards_of_another_tokenizer_are_one_clear_error(world):
    path = world.folder("tokenizer") / "spec.json"
    path.write_text(path.read_text().replace(f'"vocab_size": {VOCABULARY}', '"vocab_size": 48'))
    with pytest.raises(SeedmillError, match=r"the shards hold token id \d+ but the tokenizer has 48 ids"):
        run_here(spec_of(world))


@pytest.mark.parametrize("asset", ["token_shards/web", "pretraining_blend"])
def test_what_another_tokenizer_of_the_same_size_made_is_one_clear_error(world, asset):
    made_from(world, asset, "another tokenizer")
    with pytest.raises(SeedmillError, match=f"{asset} was made with the tokenizer another tokenize, but this job has digest of tokeni"):
        run_here(spec_of(world))
    made_from(world, asset, world.inputs["tokenizer"].digest)
    run_here(spec_of(world))


def made_from(world, asset, tokenizer):
    world.inputs[asset] = world.inputs[asset].model_copy(update={"made_from": {"tokenizer": tokenizer}})


def test_a_cluster_without_its_shard_is_named(world):
    del world.inputs["token_shards/web"]
    with pytest.raises(SeedmillError, match="token_shards/web is not among this job's inputs"):
        run_here(spec_of(world))


def test_an_unknown_parent_is_named(world):
    world.folder("sft_conversations")
    with pytest.raises(SeedmillError, match="start_from 'midtrained_checkpoint' is not among the inputs"):
        run_here(world.spec("sft_checkpoint", "sft", {}))


def test_a_loss_that_stays_infinite_stops_the_job_and_a_single_one_is_skipped(world, monkeypatch):
    from factory.training import trainer

    real, poisoned = trainer.Trainer._forward_backward, {3}

    def poison(self):
        sums = real(self)
        if self.counters.step in poisoned:
            sums[1] = float("nan")
        return sums

    monkeypatch.setattr(trainer.Trainer, "_forward_backward", poison)
    assert run_here(spec_of(world)).metrics["skipped_steps"] == 1
    poisoned.update(range(4, 8))
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION, "poisoned")
    with pytest.raises(
        SeedmillError, match=r"not finite for 5 steps up to step 8: .* or look at what these steps read, in .*/bad_steps\.jsonl"
    ):
        run_here(spec)
    assert [part.name for part in (Path(spec.folder) / "parts").iterdir()] == ["step-00000004"]
    read = [json.loads(line) for line in (Path(spec.folder) / "bad_steps.jsonl").read_text().splitlines()]
    assert sorted({row["step"] for row in read}) == [4, 5, 6, 7, 8]
    assert [sum(row["rows"] for row in read if row["step"] == step) for step in (4, 8)] == [8, 8]
    assert all(row["asset"] in {"token_shards/web", "token_shards/code"} and row["items"] for row in read)
