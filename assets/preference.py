"""Preference: refusals, pivotal pairs and judged pairs. Training on no pair at all must not look like success."""

from assets.builder import Group
from assets.checks import ACCOUNTED, HAS_PAIRS, NOT_EMPTY
from assets.synthesis import pictures

GROUP = Group("preference", owner="team:training", checks=(ACCOUNTED, NOT_EMPTY, HAS_PAIRS), figures=pictures)
