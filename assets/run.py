"""One run of the factory from the command line: `python -m assets.run RECIPE`, over the same instance as the web UI.

Dagster executes the run in this process. What it does is told in a file of JSON lines that a live view can tail; standard
error gets one line for each thing that went wrong.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import typer
from dagster import AssetCheckEvaluation, DagsterEventType

from assets.definitions import SELECTION, definitions
from assets.instance import PROCESS, open_instance, process_tag, reap
from factory.errors import SeedmillError
from factory.experiment import Experiment
from factory.graph import select as choose
from factory.job import TERMINATED, USER_ERROR
from factory.recipe import load

FAILED = 1


def execute(recipe: Path, seed: int | None, select: list[str], rebuild: list[str], events: Path | None) -> int:
    """Materialize a selection of a recipe's assets and return the exit status; what failed is told on standard error."""
    experiment = Experiment.open(load(recipe, seed))
    again = {experiment.stage(name).name for name in rebuild}
    names = {*choose(experiment.stages, select), *again}
    job = definitions(recipe, seed, only=names).resolve_job_def(SELECTION)
    with open_instance(experiment.workspace) as instance:
        reap(instance)
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={PROCESS: process_tag()},
            run_config=_run_config(recipe, seed, sorted(again), events),
        )
        for line in complaints(result):
            sys.stderr.write(f"{line}\n")
        return _status(instance, result)


def _run_config(recipe: Path, seed: int | None, rebuild: list[str], events: Path | None) -> dict[str, Any]:
    """The settings of the factory for one run; Dagster's own console lines are left to the web UI."""
    factory = {"recipe": str(recipe), "rebuild": rebuild, "events": str(events or "")}
    if seed is not None:
        factory["seed"] = seed
    return {"resources": {"factory": {"config": factory}}, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def complaints(result: dg.ExecuteInProcessResult) -> list[str]:
    """What went wrong: a failed check or a user's mistake in one line each, a fault of ours with its traceback."""
    checks = [event for event in result.get_asset_check_evaluations() if not event.passed]
    steps = result.filter_events(lambda event: event.event_type is DagsterEventType.STEP_FAILURE)
    return [*map(_explain_check, checks), *filter(None, map(_explain_step, steps))]


def _explain_check(check: AssetCheckEvaluation) -> str:
    """A failed gate stops what follows; a warning does not."""
    asset = "/".join(check.asset_key.path[1:])
    if check.severity is dg.AssetCheckSeverity.WARN:
        return f"warning: {asset} does not pass {check.check_name}: {check.description}"
    return f"error: {asset} does not pass {check.check_name} ({check.description}), so nothing was made from it"


def _explain_step(event: dg.DagsterEvent) -> str | None:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return f"error: {failure.user_failure_data.description}"
    error = failure.error
    if error is None or error.cls_name == "DagsterExecutionInterruptedError":
        return f"error: {event.step_key} was interrupted; run again to go on from its last finished part"
    return None if error.cls_name == "DagsterAssetCheckFailedError" else f"error: {error.to_string()}"


def _status(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> int:
    run = instance.get_run_by_id(result.run_id)
    if run and run.status is dg.DagsterRunStatus.CANCELED:
        return TERMINATED
    return 0 if result.success else FAILED


def main(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.")],
    seed: Annotated[int | None, typer.Option(help="Another seed than the recipe's.")] = None,
    select: Annotated[list[str] | None, typer.Option(help="An asset or a group; `+NAME` takes what it is made from too.")] = None,
    rebuild: Annotated[list[str] | None, typer.Option(help="An asset to build again from nothing and compare.")] = None,
    events: Annotated[Path | None, typer.Option(help="Append what happens to this file as lines of JSON.")] = None,
) -> None:
    """Run the factory over a recipe."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = execute(recipe, seed, select or [], rebuild or [], events)
    except SeedmillError as error:
        sys.stderr.write(f"error: {error}\n")
        status = USER_ERROR
    except KeyboardInterrupt:
        status = TERMINATED
    raise typer.Exit(status)


if __name__ == "__main__":
    typer.run(main)
