"""Preference: refusals, pivotal pairs and judged pairs. Training on no pair at all must not look like success."""

from assets.builder import Group
from assets.checks import ACCOUNTED, HAS_PAIRS, LESS_PROBABLE, NO_HELD_OUT, NOT_EMPTY
from assets.synthesis import pictures

GROUP = Group("preference", owner="team:training", checks=(ACCOUNTED, NOT_EMPTY, HAS_PAIRS, NO_HELD_OUT, LESS_PROBABLE), figures=pictures)
