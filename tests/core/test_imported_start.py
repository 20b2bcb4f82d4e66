"""A Hugging Face checkpoint as the start of pretraining has its place in the graph."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from factory.errors import SeedmillError
from factory.graph import build
from factory.recipe import load

SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke.yaml"


def recipe(folder: Path, **training: Any) -> Path:
    data = yaml.safe_load(SMOKE.read_text())
    data["training"]["pretrain"]["start_from"] = training.pop("start_from", None)
    data["training"] |= training
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_an_imported_checkpoint_is_upstream_of_pretraining_and_leaves_its_folder_out_of_identity(tmp_path: Path) -> None:
    imported = {"folder": str(tmp_path), "license": "MIT"}
    stages = build(load(recipe(tmp_path, start_from="imported_checkpoint", imported=imported)))
    assert "imported_checkpoint" in stages["pretrained_checkpoint"].inputs
    assert stages["imported_checkpoint"].identity == {"license": "MIT"}


def test_a_plain_recipe_has_no_imported_checkpoint() -> None:
    assert "imported_checkpoint" not in build(load(SMOKE))


@pytest.mark.parametrize(
    "training",
    [{"start_from": "imported_checkpoint"}, {"imported": {"folder": "/models/theirs", "license": "MIT"}}, {"start_from": "sft_checkpoint"}],
)
def test_a_start_without_an_import_or_the_reverse_is_refused(tmp_path: Path, training: dict[str, Any]) -> None:
    with pytest.raises(SeedmillError, match=r"set training\.imported and start_from"):
        load(recipe(tmp_path, **training))
