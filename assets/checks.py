"""Asset checks: what must hold before anything downstream may read an asset, and what an audit looks at again later."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from factory.experiment import Experiment
from factory.graph.stage import Stage
from factory.store.manifest import Manifest
from resources.factory import FactoryResource


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


def _holds_pairs(_: Experiment, manifest: Manifest) -> Verdict:
    rows = manifest.output("pairs").rows or 0
    return Verdict(rows > 0, f"{rows} pairs", {"pairs": rows})


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
