"""Evaluation: every checkpoint on the same held-out problems, and the gate that keeps a worse model from being released."""

from assets.builder import Group
from assets.checks import ACCOUNTED, PROMOTED

GROUP = Group("evaluation", owner="team:evaluation", checks=(ACCOUNTED, PROMOTED))
