"""The command lines that messages propose: what a user can type where they stand, about the experiment that they asked about."""

import os
import shlex
import shutil
import sys
from pathlib import Path

RECIPE = Path("recipes/laptop.yaml")
VARIABLE = "FACTORY_RECIPE"


def proposal(*words: str, recipe: Path, seed: int | None) -> str:
    """`factory WORDS...` with the recipe and the seed, each left out where the command would take the same without it."""
    named = [] if recipe == RECIPE and VARIABLE not in os.environ else ["--recipe", str(recipe)]
    drawn = [] if seed is None else ["--seed", str(seed)]
    return shlex.join([program(), *words, *named, *drawn])


def program() -> str:
    """How to call this program from here: by its name where the shell would find this very one, else by its path."""
    own = Path(sys.executable).with_name("factory")
    found = shutil.which("factory")
    if not own.exists() or (found and own.samefile(found)):
        return "factory"
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)
