"""The stage `ablation_report`: every arm of the ablation beside the SFT model, on the same problems.

The arms are those of the paper's Table 9 (+1: pivotal pairs, +2: judged pairs), the control (rejection sampling at the decode
budget of the pivotal search) and the SFT model at lower temperatures, which shows how much of a rise is mere sharpening.
What honest refusals do is read from the trivia that two SFT models were asked, one of them trained without any refusal.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from factory.context import Context
from factory.evaluation.checkpoint import TRIVIA
from factory.evaluation.compare import Answers, read_answers
from factory.evaluation.config import ArmsConfig
from factory.evaluation.scores import VERDICTS
from factory.evaluation.statistics import Change, paired_change, share

Row = dict[str, Any]


def run(context: Context) -> None:
    """Write `arms.json`: `arms`, each with its scores and its paired change from the SFT model, and `trivia`."""
    config = context.section(ArmsConfig)
    answers = {name: read_answers(context.inputs[f"evaluation/{name}"]) for name in config.arms}
    context.keep(sum(len(found) for by_mode in answers.values() for found in by_mode.values()))
    rows = [_row(context, config, name, answers) for name in config.arms]
    rows += [_matched_row(context, config, name, answers) for name in config.matched]
    asked = {name: trivia(context, name) for name in (config.without_refusals, *config.arms)}
    context.write_json("arms.json", {"arms": rows, "trivia": asked})
    context.metrics.update({f"{row['arm']}/{mode}": row[mode]["accuracy"] for row in rows for mode in ("greedy", "sampled") if mode in row})


def _row(context: Context, config: ArmsConfig, name: str, answers: Mapping[str, Answers]) -> Row:
    """One checkpoint: its scores, and what changed on the same problems since the SFT model, since its own start, against the control."""
    scores = context.inputs[f"evaluation/{name}"].json("scores.json")
    against = {"change": config.start, "against_control": config.control}
    if name in config.before:
        against["change_of_its_round"] = config.before[name]
    return {
        "arm": name,
        **{mode: _headline(scores[mode]) for mode in ("greedy", "sampled")},
        **{key: _changes(answers[other], answers[name]) for key, other in against.items() if other != name},
    }


def _matched_row(context: Context, config: ArmsConfig, name: str, answers: Mapping[str, Answers]) -> Row:
    """The SFT model, as certain as checkpoint `name`: what that checkpoint gains over it is more than sharpening."""
    evaluation = context.inputs[f"matched_evaluation/{name}"]
    scores, own = evaluation.json("scores.json"), read_answers(evaluation)["sampled"]
    context.keep(len(own))
    return {
        "arm": f"{config.start} as certain as {name}",
        "temperature": scores["temperature"],
        "entropy": {"own": scores["entropy"], "target": scores["target"]},
        "sampled": _headline(scores["sampled"]),
        "beaten_by": asdict(paired_change(own, answers[name]["sampled"])),
    }


def _headline(score: Mapping[str, Any]) -> Row:
    kept = ("correct", "n", "accuracy", "low", "high", "mean_tokens")
    return {key: score[key] for key in kept} | {"styles": {name: style["share"] for name, style in score["styles"].items()}}


def _changes(before: Answers, after: Answers) -> dict[str, Row]:
    changes: dict[str, Change] = {mode: paired_change(before[mode], after[mode]) for mode in before}
    return {mode: asdict(change) for mode, change in changes.items()}


def trivia(context: Context, name: str) -> dict[str, Row]:
    """The three-way metric of a checkpoint by kind of trivia question, with Wilson intervals and counts."""
    evaluation = context.inputs[f"evaluation/{name}"]
    asked = sum(row["kind"] == TRIVIA for row in evaluation.records("answers", columns=["kind"]))
    context.keep(asked)
    families = evaluation.json("scores.json")["trivia"]["families"]
    return {family: _three_way(score) for family, score in families.items()}


def _three_way(score: Mapping[str, Any]) -> Row:
    return {verdict: asdict(share(round(score[verdict] * score["n"]), score["n"])) for verdict in VERDICTS}
