"""The groups of the graph, in the order that data flows through them."""

from collections.abc import Collection

import dagster as dg

from assets import ablation, curation, evaluation, preference, release, synthesis, tokens, training
from assets.builder import asset_key
from factory.experiment import Experiment

GROUPS = tuple(module.GROUP for module in (curation, synthesis, tokens, training, preference, evaluation, release, ablation))


def gates(experiment: Experiment, names: Collection[str]) -> list[dg.AssetCheckKey]:
    """The checks that are a part of making these assets: a run request that names none would run their audits too."""
    checks = {group.name: group.checks for group in GROUPS}
    return [
        dg.AssetCheckKey(asset_key(experiment.name, stage.name), check.name)
        for stage in experiment.stages.values()
        if stage.name in names
        for check in checks[stage.group]
        if check.applies(stage)
    ]
