from pathlib import Path

import pytest

from factory.recipe import load

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.fixture
def phi4():
    return load(RECIPES / "phi4-14b.yaml")


@pytest.fixture
def one_gpu():
    return load(RECIPES / "one-gpu.yaml")
