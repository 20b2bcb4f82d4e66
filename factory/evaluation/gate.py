"""The stage `promotion_gate`: may the last checkpoint be released?

Every rule is written with its value and its threshold, whether it holds or not, because a gate that only says no teaches
nothing. A failed gate is a result, not an error: the graph decides what follows from it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from factory.context import Context, Input
from factory.errors import SeedmillError
from factory.evaluation.compare import Answers, comparisons, read_answers
from factory.evaluation.config import GateConfig
from factory.evaluation.statistics import Change

Comparisons = list[tuple[str, str, dict[str, Change]]]


@dataclass(frozen=True)
class Rule:
    """One rule: `value` compared with `threshold` in the sense of `sense`."""

    name: str
    value: float
    sense: str
    threshold: float
    holds: bool


def at_least(name: str, value: float, threshold: float) -> Rule:
    """A rule that holds from the threshold upwards."""
    return Rule(name, value, "at least", threshold, value >= threshold)


def at_most(name: str, value: float, threshold: float) -> Rule:
    """A rule that holds up to the threshold."""
    return Rule(name, value, "at most", threshold, value <= threshold)


def run(context: Context) -> None:
    """Write `gate.json`: whether the candidate passed, every rule, the comparison of consecutive checkpoints, and trivia by checkpoint."""
    config = context.section(GateConfig)
    answers = {name: _answers(context, name) for name in config.order}
    found = comparisons(config.order, answers, config.significance)
    rules = judge(
        config,
        answers,
        found,
        context.inputs["long_context_evaluation"].json("scores.json"),
        context.inputs["safety_report"].json("scores.json"),
    )
    passed = all(rule.holds for rule in rules)
    context.write_json(
        "gate.json",
        {
            "candidate": config.order[-1],
            "passed": passed,
            "rules": [asdict(rule) for rule in rules],
            "comparisons": [{"before": a, "after": b, **{mode: asdict(c) for mode, c in change.items()}} for a, b, change in found],
            "trivia": [
                {"checkpoint": name, "families": _evaluation(context, name).json("scores.json")["trivia"]["families"]}
                for name in config.order
            ],
        },
    )
    context.metrics.update(passed=passed, **{rule.name: rule.value for rule in rules})


def _answers(context: Context, checkpoint: str) -> Answers:
    answers = read_answers(_evaluation(context, checkpoint))
    context.keep(sum(map(len, answers.values())))
    return answers


def _evaluation(context: Context, checkpoint: str) -> Input:
    name = f"evaluation/{checkpoint}"
    if name not in context.inputs:
        raise SeedmillError(
            f"{context.spec.asset}: gate.order names {checkpoint!r}, but there is no input {name!r}; take it out of the order"
        )
    return context.inputs[name]


def judge(
    config: GateConfig, answers: Mapping[str, Answers], found: Comparisons, long_context: Mapping[str, Any], safety: Mapping[str, Any]
) -> list[Rule]:
    """Every rule with its value."""
    greedy = {name: rate(by_mode["greedy"]) for name, by_mode in answers.items()}
    base, last = config.order[0], config.order[-1]
    return [
        at_least("greedy_accuracy", greedy[last], config.least_greedy_accuracy),
        at_least("gain_over_base", greedy[last] - greedy[base], config.least_gain_over_base),
        at_most("falls_in_preference_training", falls(found, config.preference_stages), config.allowed_falls),
        at_most("unsafe_compliance", safety["compliance"]["accuracy"], config.most_compliance),
        at_least("long_context_gain", long_context["last_bucket_gain"], config.least_long_context_gain),
    ]


def rate(verdicts: Mapping[str, bool]) -> float:
    """The share of right answers."""
    return sum(verdicts.values()) / max(1, len(verdicts))


def falls(found: Comparisons, stages: tuple[str, ...]) -> int:
    """How many comparisons (a stage and a mode) end in a significant fall, among those that lead to `stages`."""
    return sum(change.verdict == "fell" for _, after, by_mode in found if after in stages for change in by_mode.values())
