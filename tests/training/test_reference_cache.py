"""The reference of preference optimisation is kept between runs: a kept file is used only whole, and only for what it was made for.

Two defects of such caches are known from other trainers: a key that leaves something out, so that a run trains on the values (or the
zeros) of another one; and a damaged file that spoils every later run. Neither shows in a loss.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_worlds import SHORT, World, digest_of, metrics_of, run_here

from factory.context import Context
from factory.parts import SEAL_BYTES
from factory.training import reference
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import DpoConfig
from factory.training.distributed import joined
from factory.training.packing import Example, Group
from factory.training.stage import Parent

PAIRS = [Group(item, (Example.of([1, 2, 3], [0, 0, 1]), Example.of([1, 2, 4], [0, 0, 1]))) for item in range(6)]
SECTION = {"start_from": "sft_checkpoint", **SHORT}
OUTPUTS = ("mcore", "metrics.jsonl")


class Reference:
    """Asks for the reference of one world; what is computed for the nth time is -n throughout, so that its origin shows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.world.folder("pivotal_pairs")
        self.computed = 0

    def compute(self, rows: reference.PackedRows, *_: object) -> np.ndarray:
        self.computed += 1
        return np.full((len(rows.groups), 2), -self.computed, dtype=np.float32)

    def __call__(self, *, parent: str = "the parent", pairs: str = "the pairs", groups: list[Group] = PAIRS, **changed: Any) -> float:
        """Which computation the values are of."""
        self.world.inputs["pivotal_pairs"] = self.world.inputs["pivotal_pairs"].model_copy(update={"digest": pairs})
        section = DpoConfig.model_validate(SECTION | changed)
        context = Context.of(self.world.spec("dpo", "dpo", section.model_dump()))
        start = Parent("sft_checkpoint", parent, Path(), ModelConfig(), 64)
        with joined(LayoutConfig(), seed=0):
            values = reference.log_probabilities(context, section, None, groups, start)  # type: ignore[arg-type]
        assert values.shape == (len(groups), 2)
        assert values.dtype == np.float32
        assert len(set(values.flat)) == 1, "values of one computation"
        return -float(values[0, 0])

    @property
    def files(self) -> list[Path]:
        return sorted((self.world.root / "cache" / "reference").iterdir())

    @property
    def said(self) -> str:
        return (self.world.root / "jobs" / "dpo-1" / "messages.jsonl").read_text()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reference:
    """A world whose reference has been computed once and kept."""
    made = Reference(World(tmp_path))
    monkeypatch.setattr(reference, "_evaluate", made.compute)
    assert made() == 1
    return made


def test_what_was_kept_is_used_whatever_has_no_say_in_it(kept: Reference) -> None:
    others: dict[str, Any] = {"beta": 0.4, "nll_weight": 0.1, "epochs": 7, "steps": 3, "global_batch": 16, "optimizer": {"lr": 1.0}}
    assert kept(**others) == 1
    assert len(kept.files) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"parent": "another"},
        {"pairs": "others"},
        {"groups": PAIRS[:4]},
        {"sequence_length": 64},
        {"micro_batch": 2},
        {"precision": "fp32"},
        {"fp8": "tensorwise"},
        {"layout": {"recompute": True}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_has_a_say_in_the_values_asks_for_its_own(kept: Reference, changed: dict[str, Any]) -> None:
    assert kept(**changed) == 2
    assert kept() == 1
    assert kept(**changed) == 2


def test_a_machine_of_another_kind_computes_its_own(kept: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "DEVICE", reference.torch.device("meta"))
    assert kept() == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    """One bit of the last value."""
    content = bytearray(path.read_bytes())
    content[-SEAL_BYTES - 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    """A whole file of values that nobody sealed."""
    with path.open("wb") as stream:
        np.save(stream, np.zeros((len(PAIRS), 2), dtype=np.float32))


@pytest.mark.parametrize("damage", [cut, halve, flip, empty, zeros])
def test_a_damaged_file_is_computed_again_once_and_said(kept: Reference, damage: Callable[[Path], None]) -> None:
    damage(kept.files[0])
    assert kept() == 2
    assert f"{kept.files[0]} is not as it was written" in kept.said
    assert kept() == 2, "the file is whole again"


def test_a_file_that_is_gone_is_computed_again(kept: Reference) -> None:
    kept.files[0].unlink()
    assert kept() == 2
    assert kept() == 2


@pytest.mark.parametrize("others", [{"parent": "another"}, {"pairs": "others"}], ids=["checkpoint", "pairs"])
def test_a_whole_file_of_another_checkpoint_or_of_other_pairs_is_not_taken_for_its_own(kept: Reference, others: dict[str, Any]) -> None:
    (mine,) = kept.files
    assert kept(**others) == 2
    (foreign,) = set(kept.files) - {mine}
    shutil.copyfile(foreign, mine)
    assert kept() == 3


def test_every_pair_has_a_reference_of_its_own_and_a_damaged_cache_changes_no_bit_of_the_run(trained, tmp_path: Path) -> None:
    """The whole epoch starts where the reference is, not its first batch alone: a rate of next to nothing leaves it there."""
    section = {"start_from": "pretrained_checkpoint", **SHORT, "precision": "fp32", "optimizer": {"lr": 1e-12}, "beta": 5.0}
    specs = [trained.spec("dpo_kept", "dpo", section, attempt) for attempt in ("whole", "damaged")]
    specs = [spec.model_copy(update={"runtime": {"cache": str(tmp_path)}}) for spec in specs]
    whole = run_here(specs[0])
    (file,) = (tmp_path / "reference").iterdir()
    flip(file)
    damaged = run_here(specs[1])
    assert "is computed again" in (Path(specs[1].folder) / "messages.jsonl").read_text()
    assert max(abs(row["margin"]) for row in metrics_of(specs[1])) < 1e-3
    assert [digest_of(damaged, name) for name in OUTPUTS] == [digest_of(whole, name) for name in OUTPUTS]
