"""The graph of a recipe: every stage, in the order that data flows."""

from collections.abc import Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter

from factory.errors import SeedmillError
from factory.graph import ablation, curation, evaluation, preference, release, synthesis, tokens, training
from factory.graph.named import check_names
from factory.graph.stage import Stage
from factory.recipe import Recipe

GROUPS = (curation, synthesis, tokens, training, preference, evaluation, release, ablation)


def build(recipe: Recipe) -> dict[str, Stage]:
    """All stages by name, each after its inputs; among equals, in the order that the groups list them.

    Raises SeedmillError where the recipe has a stage start from what is no asset of its kind, or from what is made from it.
    """
    listed = {stage.name: stage for group in GROUPS for stage in group.stages(recipe)}
    check_names(recipe, listed)
    order = TopologicalSorter({name: stage.inputs for name, stage in listed.items()})
    try:
        return {name: listed[name] for name in order.static_order()}
    except CycleError as error:
        circle = " <- ".join(reversed(error.args[1]))
        raise SeedmillError(f"an asset would be made from itself: {circle}; mend start_from or pairs in `training`") from error


def default_selection(stages: dict[str, Stage]) -> list[str]:
    """The assets that a plain run makes: all but the ablation's, unless a recipe has the model start from one of its arms."""
    return [stage.name for stage in upstream(stages, {name for name, stage in stages.items() if stage.group != "ablation"})]


def select(stages: dict[str, Stage], words: Sequence[str]) -> list[str]:
    """The assets that words name, in the order that data flows; the default selection for no words.

    A word is an asset or a group; with a leading `+` it takes everything that it is made from too. Raises SeedmillError on a
    word that is neither.
    """
    if not words:
        return default_selection(stages)
    chosen: set[str] = set()
    for word in words:
        named = _named(stages, word.removeprefix("+"))
        chosen |= {stage.name for stage in upstream(stages, named)} if word.startswith("+") else named
    return [name for name in stages if name in chosen]


def _named(stages: dict[str, Stage], word: str) -> set[str]:
    if word in stages:
        return {word}
    group = {stage.name for stage in stages.values() if stage.group == word}
    if not group:
        groups = sorted({stage.group for stage in stages.values()})
        near = get_close_matches(word, [*stages, *groups], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"groups: {', '.join(groups)}"
        raise SeedmillError(f"no asset or group {word!r}; {hint} (`factory status` lists all assets)")
    return group


def upstream(stages: dict[str, Stage], names: set[str]) -> list[Stage]:
    """The named stages and all that they are made from, in the order that data flows."""
    wanted = set(names)  # stages come in topological order, so one pass backwards is enough
    for stage in reversed(stages.values()):
        if stage.name in wanted:
            wanted.update(stage.inputs)
    return [stage for stage in stages.values() if stage.name in wanted]
