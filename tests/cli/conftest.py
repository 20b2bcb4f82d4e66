import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from smoke_recipe import SMOKE

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "lineage"), str(TESTS / "evaluation")]  # their small worlds serve here too


@dataclass
class Done:
    status: int
    out: str
    err: str


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """A workspace of the test's own, and the smoke recipe over it."""
    monkeypatch.setenv("SEEDMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACTORY_RECIPE", str(SMOKE))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "home"


@pytest.fixture
def world(workspace):
    """The small world, where the smoke recipe looks for its artefacts."""
    from world import home

    return home(workspace)


@pytest.fixture
def factory(monkeypatch, capsys):
    """`factory WORDS...` in this process, as a user would type it."""
    from factory.cli import main

    def call(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["factory", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        status = ended.value.code
        return Done(status if isinstance(status, int) else 0, *capsys.readouterr())

    return call
