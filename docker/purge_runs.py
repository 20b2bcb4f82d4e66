"""Delete old runs from the Dagster instance: `retention` in dagster.yaml covers ticks only, and event logs grow for ever.

A run that holds the newest materialization of an asset is kept whatever its age, so the graph never looks unmade. Lineage does
not depend on any of it: manifests in the store are the truth.
"""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import dagster as dg
import typer

BATCH = 100
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def purge(instance: dg.DagsterInstance, older_than: timedelta) -> list[str]:
    """Delete finished runs last touched before `older_than` ago, oldest first; returns their ids."""
    finished = dg.RunsFilter(statuses=FINISHED, updated_before=datetime.now(UTC) - older_than)
    old, kept = _ids(instance, finished), _newest_materializations(instance)
    deleted = [run_id for run_id in old if run_id not in kept]
    for run_id in deleted:
        instance.delete_run(run_id)
    return deleted


def _ids(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> list[str]:
    """All runs by pages, before any is deleted: a page's cursor must still exist."""
    found: list[str] = []
    while runs := instance.get_runs(wanted, cursor=found[-1] if found else None, limit=BATCH, ascending=True):
        found += [run.run_id for run in runs]
    return found


def _newest_materializations(instance: dg.DagsterInstance) -> set[str]:
    keys = instance.get_asset_keys()
    return {event.run_id for event in instance.get_latest_materialization_events(keys).values() if event}


def main(days: Annotated[int, typer.Option(min=1, help="Delete runs that ended more than so many days ago.")] = 90) -> None:
    """Delete old runs from the instance that DAGSTER_HOME names."""
    with dg.DagsterInstance.get() as instance:
        deleted = purge(instance, timedelta(days=days))
    sys.stdout.write(f"{len(deleted)} runs deleted\n")


if __name__ == "__main__":
    typer.run(main)
