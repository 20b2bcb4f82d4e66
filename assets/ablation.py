"""Ablation: the other arms of the paper's Table 9 and the control, outside of the default job."""

from assets.builder import Group
from assets.checks import ACCOUNTED, HAS_PAIRS
from assets.training import pictures

GROUP = Group("ablation", owner="team:training", checks=(ACCOUNTED, HAS_PAIRS), figures=pictures)
