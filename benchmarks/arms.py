"""The arms of the ablation over several seeds: what each round of preference training adds, and what honest refusals do.

Runs `factory run --group ablation` for every seed (what a workspace already holds is reused), reads each seed's
`ablation_report` and prints one table. Run as `make bench-arms`, or `python benchmarks/arms.py [--seeds 0 1 2]`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from machine import surroundings
from rich.console import Console
from rich.table import Table

from factory.cli.session import Session

RESULTS = Path(__file__).parent / "results" / "arms.json"
SFT, PTS, JUDGED, CONTROL = "sft_checkpoint", "pivotal_dpo_checkpoint", "judged_dpo_checkpoint", "rejection_dpo_checkpoint"
UNREFUSING = "sft_without_refusals_checkpoint"
LEAST_LIFT = 0.05
Report = dict[str, Any]
Bar = dict[str, Any]


def report_of(recipe: Path, seed: int) -> Report:
    """Make the ablation of one seed and read its report."""
    factory = Path(sys.executable).with_name("factory")
    subprocess.run([factory, "run", "--recipe", recipe, "--seed", str(seed), "--group", "ablation"], check=True)
    session = Session.open(recipe, seed)
    return json.loads((session.store.outputs(session.resolve("ablation_report")) / "arms.json").read_bytes())


def arm(report: Report, name: str) -> dict[str, Any]:
    return next(row for row in report["arms"] if row["arm"] == name)


def accuracy(report: Report, name: str, mode: str) -> float:
    return arm(report, name)[mode]["accuracy"]


def both(report: Report, name: str) -> float:
    """The mean of greedy and sampled accuracy."""
    return fmean(accuracy(report, name, mode) for mode in ("greedy", "sampled"))


def bar(name: str, value: float, sense: str, goal: float) -> Bar:
    """`sense` is "at least", "at most" or "above"."""
    value = round(value, 9)  # 1e-18 is no lead
    holds = {"at least": value >= goal, "at most": value <= goal, "above": value > goal}[sense]
    return {"name": name, "value": value, "sense": sense, "goal": goal, "holds": holds}


def falls(report: Report, name: str, since: str = "change") -> float:
    """1 where greedy answers fell significantly, else 0."""
    return float(arm(report, name)[since]["greedy"]["verdict"] == "fell")


def preference_bars(seed: int, report: Report) -> Iterator[Bar]:
    """What preference training should add; a fall that is significant counts as one."""
    yield bar(f"seed {seed}: PTS lifts T=1 by", accuracy(report, PTS, "sampled") - accuracy(report, SFT, "sampled"), "at least", LEAST_LIFT)
    yield bar(f"seed {seed}: significant falls of greedy by PTS", falls(report, PTS), "at most", 0.0)
    yield bar(f"seed {seed}: significant falls of greedy by the judge round", falls(report, JUDGED, "change_of_its_round"), "at most", 0.0)
    yield bar(f"seed {seed}: significant falls of greedy by both rounds", falls(report, JUDGED), "at most", 0.0)
    matched = arm(report, f"{SFT} as certain as {PTS}")
    lead = accuracy(report, PTS, "sampled") - matched["sampled"]["accuracy"]
    yield bar(f"seed {seed}: PTS above the SFT model that is as certain", lead, "above", 0.0)


def means(reports: dict[int, Report]) -> Iterator[Bar]:
    """Over all seeds: greedy and sampled together."""
    of = {name: fmean(both(report, name) for report in reports.values()) for name in (SFT, PTS, JUDGED, CONTROL)}
    yield bar("PTS above rejection sampling, mean of greedy and T=1", of[PTS] - of[CONTROL], "above", 0.0)
    yield bar("the judge round adds to the mean", of[JUDGED] - of[PTS], "above", 0.0)


def refusal_bars(seed: int, report: Report) -> Iterator[Bar]:
    """What refusal data does to trivia, against the arm that had none: after fine-tuning, and in the last model."""
    without = report["trivia"][UNREFUSING]
    for name, trained in (("", report["trivia"][SFT]), (" after the judge round", report["trivia"][JUDGED])):
        before, after = (asked["unanswerable"]["incorrect"]["accuracy"] for asked in (without, trained))
        words = f"seed {seed}: incorrect on unanswerable questions{name}, share of before"
        yield bar(words, after / before if before else 1.0, "at most", 0.5)
        before, after = (asked["answerable"]["correct"]["accuracy"] for asked in (without, trained))
        words = f"seed {seed}: correct on answerable questions{name}, share of before"
        yield bar(words, after / before if before else 1.0, "at least", 0.9)


def table(reports: dict[int, Report]) -> Table:
    columns = (f"seed {seed} {mode}" for seed in reports for mode in ("greedy", "T=1"))
    shown = Table("arm", *columns, title="problems solved [95 %]")
    for row in next(iter(reports.values()))["arms"]:
        rows = [arm(report, row["arm"]) for report in reports.values()]
        shown.add_row(row["arm"], *(_cell(one.get(mode)) for one in rows for mode in ("greedy", "sampled")))
    return shown


def _cell(score: dict[str, float] | None) -> str:
    return f"{score['accuracy']:.1%} [{score['low']:.1%}, {score['high']:.1%}]" if score else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/laptop.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    before = surroundings("torch", "megatron-core", "numpy")
    reports = {seed: report_of(options.recipe, seed) for seed in options.seeds}
    console = Console()
    console.print(table(reports))
    per_seed = [found for seed, report in reports.items() for found in (*preference_bars(seed, report), *refusal_bars(seed, report))]
    bars = [*per_seed, *means(reports)]
    for one in bars:
        console.print(one, highlight=False)
    RESULTS.write_text(json.dumps({**before, "samples": {str(seed): report for seed, report in reports.items()}, "bars": bars}) + "\n")


if __name__ == "__main__":
    main()
