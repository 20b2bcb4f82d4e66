"""A checkpoint goes on at another layout, optimiser and all; a damaged one, or a disk without room, is one clear error."""

import errno
import functools
import re
import shutil
from pathlib import Path

import pytest
from training_worlds import MODEL, SHORT, finish, losses_of, run_here

from factory.errors import SeedmillError

SECTION = {"model": MODEL, "steps": 8, "precision": "fp32", **SHORT, "micro_batch": 2}
SHARDED = {"distributed_optimizer": True}


def only_part(spec):
    (part,) = (Path(spec.folder) / "parts").iterdir()
    return part


@pytest.mark.ranks4
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"tensor": 2}, {}, id="TP2 to TP1"),
        pytest.param({"data": 4} | SHARDED, {"pipeline": 2} | SHARDED, id="DP4 to PP2"),
        pytest.param({"pipeline": 2, "virtual_stages": 1, "tensor": 2}, {"data": 2}, id="TP2 PP2 to DP2"),
    ],
)
def test_training_goes_on_at_another_layout(world, before, after):
    specs = [world.spec("pretrained_checkpoint", "pretrain", SECTION | {"layout": before}, "before", processes=ranks_of(before))]
    finish(specs[0])
    fields = {"processes": ranks_of(after), "previous": (specs[0].folder,)}
    specs.append(world.spec("pretrained_checkpoint", "pretrain", SECTION | {"layout": after}, "after", **fields))
    finish(specs[1])
    assert "resumed at step 4 of 8" in (Path(specs[1].folder) / "messages.jsonl").read_text()
    assert losses_of(specs[1]) == pytest.approx(losses_of(specs[0]), rel=1e-5)


def ranks_of(layout):
    return layout.get("tensor", 1) * layout.get("pipeline", 1) * layout.get("data", 1)


def remove(path):
    path.unlink()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


LACKS, CHANGED = r" lacks {}.*: bring it back", r": {} is not as it was written: bring it back"
DAMAGES = [
    *((file, remove, LACKS) for file in ("__0_0.distcp", ".metadata", "common.pt", "files.json")),
    *((file, damage, CHANGED) for file in ("__0_0.distcp", ".metadata", "files.json") for damage in (flip, cut)),
]
PART_DAMAGES = [
    ("files.json", remove, LACKS),
    ("metrics.jsonl", remove, LACKS),
    ("metrics.jsonl", flip, CHANGED),
    ("metrics.jsonl", cut, CHANGED),
]


@pytest.mark.parametrize(("file", "damage", "message"), [(f"mcore/{d[0]}", *d[1:]) for d in DAMAGES] + PART_DAMAGES)
def test_a_damaged_checkpoint_to_go_on_from_is_one_clear_error(trained, tmp_path, file, damage, message):
    parts = tmp_path / "parts"
    shutil.copytree(trained.root / "jobs" / "pretrained_checkpoint-1" / "parts", parts)
    damage(parts / "step-00000004" / file)
    section = SECTION | {"micro_batch": SHORT["micro_batch"]}
    with pytest.raises(SeedmillError, match=message_about(file, message)):
        run_here(trained.spec("pretrained_checkpoint", "pretrain", section, tmp_path.name, previous=(str(tmp_path),)))


@pytest.mark.parametrize(("file", "damage", "message"), DAMAGES)
def test_a_damaged_parent_is_one_clear_error(trained, tmp_path, file, damage, message):
    with pytest.raises(SeedmillError, match=message_about(file, message)):
        run_here(from_parent(trained, tmp_path, lambda parent: damage(parent / "mcore" / file)))


def test_a_parent_whose_settings_were_cut_is_one_clear_error(trained, tmp_path):
    with pytest.raises(SeedmillError, match=r"pretrained_checkpoint 1: hf/config.json is not as it was written .*: rebuild"):
        run_here(from_parent(trained, tmp_path, lambda parent: cut(parent / "hf" / "config.json")))


def message_about(file, message):
    """A byte that flips in the list of files is found as a file that differs from it, or that it does not have."""
    if file.endswith("files.json") and message is CHANGED:
        return "(lacks|: ) .*: bring it back|is not as it was written"
    return message.format(re.escape(Path(file).name))


def from_parent(trained, tmp_path, damage):
    """A job that starts from a damaged copy of the pretrained checkpoint."""
    source, broken = trained.inputs["pretrained_checkpoint"], tmp_path / "broken"
    shutil.copytree(source.path, broken)
    damage(broken)
    spec = trained.spec("dpo_broken", "dpo", {"start_from": "pretrained_checkpoint", **SHORT, "steps": 1}, tmp_path.name)
    return spec.model_copy(update={"inputs": spec.inputs | {"pretrained_checkpoint": source.model_copy(update={"path": str(broken)})}})


def test_a_full_disk_during_a_save_is_one_clear_error_and_keeps_the_checkpoint_before(world, monkeypatch):
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    real = filesystem_async._write_item

    @functools.wraps(real)
    def full(*args, **kwargs):
        if any("step-00000008" in str(getattr(a, "name", "")) for a in args):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(filesystem_async, "_write_item", full)
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION | {"steps": 12}, "full")
    with pytest.raises(SeedmillError, match=r"no room left to write .* free some"):
        run_here(spec)
    assert only_part(spec).name == "step-00000004"
    monkeypatch.undo()
    run_here(spec)
    straight = world.spec("pretrained_checkpoint", "pretrain", SECTION | {"steps": 12}, "straight")
    run_here(straight)
    assert losses_of(spec) == losses_of(straight)
