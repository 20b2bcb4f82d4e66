"""A code location over the recipe that the environment names: what `assets.definitions` serves of recipes/, for a recipe elsewhere."""

import os
from pathlib import Path

from assets.definitions import definitions

defs = definitions(Path(os.environ["SEEDMILL_TEST_RECIPE"]))
