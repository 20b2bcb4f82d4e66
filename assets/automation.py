"""When the factory runs by itself: once a week, and when a source changed. Both start switched off.

Both launch a run over what is out of date and nothing else; inside the run, an asset whose inputs come out with the same
digests as before is reused, so a changed file that changes no document trains nothing again.
"""

import dagster as dg

from assets.builder import asset_key
from assets.groups import gates
from factory.digest import json_digest
from factory.experiment import Experiment
from resources.factory import FactoryResource

SUNDAY_NIGHT = "0 3 * * 0"
SECONDS_BETWEEN_LOOKS = 600


def out_of_date(experiment: Experiment) -> list[str]:
    """The assets that were made once and are stale or pending, in the order that data flows.

    One that waits for an asset which was never made is left out: a run of what went stale cannot make it.
    """
    ready: set[str] = set()
    chosen: list[str] = []
    for state in experiment.states():
        if state.state == "fresh":
            ready.add(state.asset)
        elif state.state != "missing" and ready.issuperset(experiment.stage(state.asset).inputs):
            ready.add(state.asset)
            chosen.append(state.asset)
    return chosen


def source_versions(experiment: Experiment) -> dict[str, str]:
    """The version of every source as it lies there now."""
    observed = {name: experiment.observe(stage) for name, stage in experiment.stages.items()}
    return {name: version for name, version in observed.items() if version is not None}


def rebuild(experiment: Experiment, names: list[str], run_key: str | None = None) -> dg.RunRequest:
    """A run over these assets and the checks that gate them."""
    keys = [asset_key(experiment.name, name) for name in names]
    return dg.RunRequest(run_key=run_key, asset_selection=keys, asset_check_keys=gates(experiment, names))


def weekly(job: str) -> dg.ScheduleDefinition:
    """Each Sunday night, rebuild what went stale."""

    @dg.schedule(job_name=job, cron_schedule=SUNDAY_NIGHT, name="weekly", description="Rebuild what went stale, each Sunday at 03:00 UTC.")
    def schedule(factory: FactoryResource) -> dg.RunRequest | dg.SkipReason:
        names = out_of_date(factory.experiment)
        if not names:
            return dg.SkipReason("nothing that was made once is out of date")
        return rebuild(factory.experiment, names)

    return schedule


def watch_sources(job: str) -> dg.SensorDefinition:
    """Look at the sources every ten minutes, and rebuild what their change made stale."""

    @dg.sensor(
        job_name=job,
        name="watch_sources",
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        description="Rebuild what a changed source folder or prefix made stale.",
    )
    def sensor(context: dg.SensorEvaluationContext, factory: FactoryResource) -> dg.SensorResult:
        seen = json_digest(source_versions(factory.experiment))
        if context.cursor == seen:
            return dg.SensorResult(skip_reason="no source changed since the last look", cursor=seen)
        names = out_of_date(factory.experiment)
        if not names:
            return dg.SensorResult(skip_reason="the sources hold nothing that is not built yet", cursor=seen)
        return dg.SensorResult(run_requests=[rebuild(factory.experiment, names, run_key=seen)], cursor=seen)

    return sensor
