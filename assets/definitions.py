"""One code location for each recipe: `workspace.yaml` names an attribute of this module, and the recipe is read when it is asked for.

On one machine, runs use the in-process executor: the heavy stages are processes of their own already, and a process for each
step would import everything again (2.4 CPU seconds a step). Where jobs go to a cluster, steps only wait for them, so each is a
process and independent jobs run side by side.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import dagster as dg

from assets.automation import watch_sources, weekly
from assets.builder import asset_key, build_group, runs_here
from assets.groups import GROUPS
from factory.experiment import Experiment
from factory.graph import default_selection
from factory.recipe import load
from resources.factory import FactoryResource

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
MODEL, EVERYTHING, AUDIT, SELECTION = "model", "everything", "audit", "selection"


def definitions(recipe: Path, seed: int | None = None, only: Collection[str] = ()) -> dg.Definitions:
    """The whole graph of a recipe: assets, checks, jobs, the schedule, the sensor; with `only`, a job `selection` of these assets."""
    experiment = Experiment.open(load(recipe, seed))
    built = [definition for group in GROUPS for definition in build_group(group, experiment)]
    audits = [definition for definition in built if isinstance(definition, dg.AssetChecksDefinition)]
    return dg.Definitions(
        assets=[definition for definition in built if not isinstance(definition, dg.AssetChecksDefinition)],
        asset_checks=audits,
        jobs=jobs(experiment, audits, only),
        schedules=[weekly(EVERYTHING)],
        sensors=[watch_sources(EVERYTHING)],
        resources={"factory": FactoryResource(recipe=str(recipe), seed=seed)},
        executor=dg.in_process_executor if runs_here(experiment) else dg.multiprocess_executor,
    )


def jobs(experiment: Experiment, audits: list[dg.AssetChecksDefinition], only: Collection[str]) -> list[Any]:
    """`model` makes what is released, `everything` the ablation too, `audit` hashes what is stored."""
    audited = dg.AssetSelection.checks(*audits)
    model = _assets(experiment, default_selection(experiment.stages))
    selection = [dg.define_asset_job(SELECTION, _assets(experiment, only) - audited)] if only else []
    return [
        *selection,
        dg.define_asset_job(MODEL, model - audited, description="From raw documents to the released model."),
        dg.define_asset_job(EVERYTHING, dg.AssetSelection.all() - audited, description="The model, and the arms of the ablation."),
        dg.define_asset_job(AUDIT, audited, description="Hash every stored output again and compare with the manifests."),
    ]


def _assets(experiment: Experiment, names: Collection[str]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(asset_key(experiment.name, name) for name in names))


def __getattr__(name: str) -> dg.Definitions:
    """`definitions.laptop` is the experiment of `recipes/laptop.yaml`; underscores stand for hyphens."""
    for spelling in (name, name.replace("_", "-")):
        if (path := RECIPES / f"{spelling}.yaml").is_file():
            return definitions(path)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}, and there is no recipe {RECIPES / name}.yaml")
