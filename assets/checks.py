"""Asset checks: what must hold before anything downstream may read an asset, and what an audit looks at again later."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import dagster as dg

from factory.errors import SeedmillError
from factory.experiment import Experiment
from factory.graph.stage import Stage
from factory.preference.bias import FAIR, unfair
from factory.preference.held_out import held_out_chats, held_out_pairs, pairs_by_domain
from factory.store.manifest import Manifest
from resources.factory import FactoryResource

MOST_PROBABLE = 0.9
FARTHEST = 0.5
"""Nats a token: beyond it the policy writes little of what its pairs were drawn from."""
BIASES = ("length_bias_when_equally_right", "self_preference_when_equally_right", "position_bias")
SHOWN = 10


@dataclass(frozen=True)
class Verdict:
    """Whether a check passed, the finding in words, and the figures it went by."""

    passed: bool
    finding: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Check:
    """A check on the manifest that a stage has just committed; a failed blocking one keeps everything downstream from running."""

    name: str
    description: str
    judge: Callable[[Experiment, Manifest], Verdict]
    applies: Callable[[Stage], bool] = lambda _: True
    blocking: bool = True

    def spec(self, key: dg.AssetKey) -> dg.AssetCheckSpec:
        """The check as Dagster declares it."""
        return dg.AssetCheckSpec(self.name, asset=key, description=self.description, blocking=self.blocking)

    def result(self, key: dg.AssetKey, experiment: Experiment, manifest: Manifest) -> dg.AssetCheckResult:
        """The check as Dagster records it."""
        verdict = self.judge(experiment, manifest)
        return dg.AssetCheckResult(
            passed=verdict.passed,
            asset_key=key,
            check_name=self.name,
            severity=dg.AssetCheckSeverity.ERROR if self.blocking else dg.AssetCheckSeverity.WARN,
            description=verdict.finding,
            metadata=verdict.figures,
        )


def _accounts(_: Experiment, manifest: Manifest) -> Verdict:
    counts = manifest.counts
    dropped = sum(counts.dropped.values())
    finding = f"{counts.read} read, {counts.kept} kept, {dropped} dropped"
    return Verdict(counts.read == counts.kept + dropped, finding, {"read": counts.read, "kept": counts.kept, "dropped": dropped})


def _holds_something(_: Experiment, manifest: Manifest) -> Verdict:
    """The first record set is the one that those which follow read; an asset without any is not judged."""
    rows = [(output.name, output.rows) for output in manifest.outputs if output.rows is not None]
    name, number = rows[0] if rows else ("records", None)
    return Verdict(number != 0, f"{number} {name}", dict(rows))


def _holds_pairs(experiment: Experiment, manifest: Manifest) -> Verdict:
    rows = manifest.output("pairs").rows or 0
    domains = pairs_by_domain(experiment.store.outputs(manifest, ["pairs"]) / "pairs")
    words = ", ".join(f"{count} {domain}" for domain, count in domains.items())
    return Verdict(rows > 0, f"{rows} pairs" + (f": {words}" if words else ""), {"pairs": rows, **domains})


def _found_pairs(_: Experiment, manifest: Manifest) -> Verdict:
    """With an oracle that accepts everything or nothing, every question is outside of the window, and only the refusals remain."""
    found = manifest.metrics["pairs"]
    return Verdict(found > 0, f"{found} pairs of its own, beside those on what is unknown or unsafe", {"own_pairs": found})


def _keeps_questions_out(experiment: Experiment, manifest: Manifest) -> Verdict:
    """Problems of the benchmarks, and trivia that the refusals hold out for evaluation."""
    folder, held_out = experiment.store.outputs(manifest), [_upstream(experiment, manifest, "benchmarks", "problems")]
    if manifest.asset == "refusals":
        held_out.append(folder / "questions")
    elif any(upstream.asset == "refusals" for upstream in manifest.inputs):
        held_out.append(_upstream(experiment, manifest, "refusals", "questions"))
    found = held_out_pairs(folder / "pairs", held_out) if (folder / "pairs").exists() else []
    if (folder / "conversations").exists():
        found += held_out_chats(folder / "conversations", held_out)
    return Verdict(not found, f"{len(found)} pairs or chats about held-out questions", {"held_out": len(found), "ids": found[:SHOWN]})


def _upstream(experiment: Experiment, manifest: Manifest, asset: str, output: str) -> Path:
    """The folder of an output of the version that was read."""
    read = next(upstream for upstream in manifest.inputs if upstream.asset == asset)
    found = experiment.store.manifest(asset, read.version)
    if found is None:
        raise SeedmillError(f"{asset} {read.version}, which {manifest.asset} read, is no longer in the store: build it again")
    return experiment.store.outputs(found, [output]) / output


def _teaches_what_is_less_probable(_: Experiment, manifest: Manifest) -> Verdict:
    share = manifest.metrics["probable_token_chosen"]
    finding = f"the accepted token is also the more probable one in {share:.0%} of the pairs"
    return Verdict(share <= MOST_PROBABLE, finding, {"probable_token_chosen": share})


def _is_fair(_: Experiment, manifest: Manifest) -> Verdict:
    found = list(unfair(manifest.metrics))
    words = [f"{words} in {r.correct} of {r.n} pairs ({r.low:.0%} to {r.high:.0%}, fair is {FAIR:.0%})" for words, r in found]
    figures = {name: manifest.metrics[name] for name in BIASES if manifest.metrics[name] is not None}
    advice = "; the pairs teach that: change the rubric, the judge or the responders"
    return Verdict(not found, "; ".join(words) + advice if found else "no bias that the pairs could show", figures)


def _prefers_what_was_chosen(experiment: Experiment, manifest: Manifest) -> Verdict:
    """Rewards as DPO defines them: beta times the change of an answer's log-probability since training began."""
    lines = (experiment.store.outputs(manifest, ["metrics.jsonl"]) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = [json.loads(line) for line in lines[-max(1, len(lines) // 4) :]]
    beta = manifest.section["beta"]
    chosen, rejected = (beta * fmean(row[f"{side}_shift"] for row in last) for side in ("chosen", "rejected"))
    figures = {"chosen_reward": chosen, "rejected_reward": rejected, "reward_margin": chosen - rejected}
    return Verdict(chosen > rejected, f"rewards at the end: chosen {chosen:.3g}, rejected {rejected:.3g}", figures)


def _stays_near(_: Experiment, manifest: Manifest) -> Verdict:
    answer, token = manifest.metrics["divergence"], manifest.metrics["divergence_per_token"]
    finding = f"{answer:.3g} nats an answer, {token:.3g} a token, from the SFT model"
    return Verdict(token <= FARTHEST, finding, {"divergence": answer, "divergence_per_token": token})


def _may_be_released(experiment: Experiment, manifest: Manifest) -> Verdict:
    gate = json.loads((experiment.store.outputs(manifest) / "gate.json").read_bytes())
    broken = [f"{r['name']} is {r['value']:.3g}, not {r['sense']} {r['threshold']:g}" for r in gate["rules"] if not r["holds"]]
    figures = {rule["name"]: float(rule["value"]) for rule in gate["rules"]}
    return Verdict(gate["passed"], "; ".join(broken) or "all rules hold", {**figures, "gate": dg.MetadataValue.json(gate)})


ACCOUNTED = Check("records_accounted", "Records read = records kept + records dropped by reason.", _accounts)
NOT_EMPTY = Check("not_empty", "The stage left records for those that follow.", _holds_something)
HAS_PAIRS = Check(
    "has_pairs", "There is at least one preference pair to train on.", _holds_pairs, lambda stage: stage.name.endswith("_pairs")
)
FOUND_PAIRS = Check(
    "found_pairs",
    "The stage has found pairs itself: without any, training would learn from its refusals alone.",
    _found_pairs,
    lambda stage: stage.run in {"factory.preference.pivotal:run", "factory.preference.judge:run"},
    blocking=False,
)
NO_HELD_OUT = Check(
    "no_held_out_question",
    "No pair and no chat is about a question that is kept for evaluation.",
    _keeps_questions_out,
    lambda stage: "benchmarks" in stage.inputs and (stage.name.endswith("_pairs") or stage.name in {"refusals", "sft_conversations"}),
)
LESS_PROBABLE = Check(
    "not_only_probable",
    "Pivotal pairs also prefer tokens that the model finds less probable: otherwise they would only sharpen it.",
    _teaches_what_is_less_probable,
    lambda stage: stage.name == "pivotal_pairs",
    blocking=False,
)
FAIR_JUDGE = Check(
    "judge_is_fair",
    "Of equally right answers the judge prefers neither the longer, nor its own, nor the one shown earlier (95 % intervals).",
    _is_fair,
    lambda stage: stage.run == "factory.preference.judge:run",
    blocking=False,
)
MARGINS = Check(
    "reward_margin",
    "At the end of preference training the chosen answers' reward lies above that of the rejected ones.",
    _prefers_what_was_chosen,
    lambda stage: stage.run == "factory.training.dpo:run",
    blocking=False,
)
NEAR = Check(
    "near_the_reference",
    "Preference training has not moved the model far from the SFT model.",
    _stays_near,
    lambda stage: bool(stage.settings.get("reference")),
    blocking=False,
)
# Not blocking: the card comes after the gate, and has to say that the model did not pass.
PROMOTED = Check(
    "promotion_gate", "The last checkpoint may be released.", _may_be_released, lambda stage: stage.name == "promotion_gate", blocking=False
)


def audit(stage: Stage, key: dg.AssetKey) -> dg.AssetChecksDefinition:
    """Hash the stored outputs again and compare with the manifest: run on its own, it finds bit rot and tampering."""

    @dg.asset_check(
        asset=key,
        name="outputs_intact",
        description="Every stored output file still has the bytes that its manifest says.",
    )
    def outputs_intact(factory: FactoryResource) -> dg.AssetCheckResult:
        manifest = factory.experiment.latest(stage.name)
        problems = factory.experiment.store.verify(manifest)
        figures = {"version": manifest.version, "bytes": manifest.bytes, "problems": problems}
        return dg.AssetCheckResult(passed=not problems, description="; ".join(problems) or "every byte is as it was", metadata=figures)

    return outputs_intact
