"""Paired comparison of two checkpoints on the problems that both answered."""

import itertools
from collections.abc import Mapping, Sequence

from factory.context import Input
from factory.evaluation.records import MODES
from factory.evaluation.statistics import Change, paired_change

Answers = Mapping[str, Mapping[str, bool]]
"""By mode and by problem id, whether the answer was right."""


def read_answers(evaluation: Input, kind: str = "benchmark_answer") -> dict[str, dict[str, bool]]:
    """The answers of one `evaluation/CHECKPOINT` artefact. Memory: one entry a problem and mode."""
    answers: dict[str, dict[str, bool]] = {mode: {} for mode in MODES}
    for row in evaluation.records("answers", columns=["parents", "mode", "correct", "kind"]):
        if row["kind"] == kind:
            answers[row["mode"]][row["parents"][0]] = row["correct"]
    return answers


def compare(before: Answers, after: Answers, significance: float) -> dict[str, Change]:
    """By mode, what became of the same problems."""
    return {mode: paired_change(before[mode], after[mode], significance) for mode in MODES}


def comparisons(order: Sequence[str], answers: Mapping[str, Answers], significance: float) -> list[tuple[str, str, dict[str, Change]]]:
    """Each checkpoint of `order` against the one before it: (before, after, change by mode)."""
    return [(before, after, compare(answers[before], answers[after], significance)) for before, after in itertools.pairwise(order)]
