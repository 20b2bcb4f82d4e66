"""Where the smoke recipe lies."""

from pathlib import Path

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke.yaml"
