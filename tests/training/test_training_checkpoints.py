"""A checkpoint goes on at another layout, optimiser and all; a damaged one, or a disk without room, is one clear error."""

import errno
import functools
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


@pytest.fixture
def halfway(world):
    """A finished job of 8 steps, whose part after 4 steps another can go on from."""
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION, "halfway")
    run_here(spec)
    return spec


def go_on(world, halfway, section=SECTION):
    return world.spec("pretrained_checkpoint", "pretrain", section, "again", previous=(halfway.folder,))


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


def test_a_missing_file_of_a_checkpoint_is_named(world, halfway):
    next((only_part(halfway) / "mcore").glob("*.distcp")).unlink()
    with pytest.raises(SeedmillError, match=r"step-00000004/mcore lacks .*\.distcp: bring it back"):
        run_here(go_on(world, halfway))


def test_a_flipped_byte_of_a_checkpoint_is_found(world, halfway):
    path = next((only_part(halfway) / "mcore").glob("*.distcp"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SeedmillError, match=r"\.distcp is not as it was written"):
        run_here(go_on(world, halfway))


def test_a_flipped_byte_of_a_parent_is_found(trained, tmp_path):
    source = trained.inputs["pretrained_checkpoint"]
    broken = tmp_path / "broken"
    shutil.copytree(source.path, broken)
    path = next((broken / "mcore").glob("*.distcp"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    spec = trained.spec("dpo_broken", "dpo", {"start_from": "pretrained_checkpoint", **SHORT, "steps": 1})
    spec = spec.model_copy(update={"inputs": spec.inputs | {"pretrained_checkpoint": source.model_copy(update={"path": str(broken)})}})
    with pytest.raises(SeedmillError, match="is not as it was written"):
        run_here(spec)


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
