"""The graph of a recipe: every stage, in the order that data flows."""

from graphlib import TopologicalSorter

from factory.graph import ablation, curation, evaluation, preference, release, synthesis, tokens, training
from factory.graph.stage import Stage
from factory.recipe import Recipe

GROUPS = (curation, synthesis, tokens, training, preference, evaluation, release, ablation)


def build(recipe: Recipe) -> dict[str, Stage]:
    """All stages by name, each after its inputs; among equals, in the order that the groups list them."""
    listed = {stage.name: stage for group in GROUPS for stage in group.stages(recipe)}
    order = TopologicalSorter({name: stage.inputs for name, stage in listed.items()})
    return {name: listed[name] for name in order.static_order()}


def default_selection(stages: dict[str, Stage]) -> list[str]:
    """The assets that a plain run makes: all but the ablation's."""
    return [name for name, stage in stages.items() if stage.group != "ablation"]
