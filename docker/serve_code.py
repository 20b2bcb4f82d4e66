"""The code location's program: end the runs that its last start left behind, then become `dagster api grpc` with the same arguments.

Runs are children of the code location. When its container is killed, or the machine restarts, they are gone and nobody tells Dagster,
whose run monitoring cannot ask after this launcher's workers: for ever they would be shown as running and hold their places in the
pools. Reported as failed they are retried, and the retry finds the job that went on elsewhere.
"""

import json
import os
import sys

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG

UNENDED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
WHY = "The code location that executed this run was killed; what the run had finished is kept."


def end_lost_runs(instance: DagsterInstance, host: str, port: int) -> list[str]:
    """End the runs that a server at this address executed, of which none can be alive before it serves again; their ids."""
    lost = [run for run in instance.get_runs(RunsFilter(statuses=UNENDED)) if _address(run) == (host, port)]
    for run in lost:
        if run.status is DagsterRunStatus.CANCELING:  # somebody wanted it to end: it is not tried again
            instance.report_run_canceled(run, WHY)
        else:
            instance.report_run_failed(run, WHY)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in lost]


def _address(run: DagsterRun) -> tuple[str, int] | None:
    """Where the server that executes a run listens."""
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    return (server["host"], server["port"]) if server.get("port") else None


def main() -> None:
    """`--port` among the arguments and SEEDMILL_CODE_HOST are what the workspace file tells the other services."""
    arguments = sys.argv[1:]
    with DagsterInstance.get() as instance:
        lost = end_lost_runs(instance, os.environ["SEEDMILL_CODE_HOST"], int(arguments[arguments.index("--port") + 1]))
    if lost:
        sys.stdout.write(f"ended {len(lost)} runs that were lost with the last start: {', '.join(lost)}\n")
        sys.stdout.flush()
    os.execvp("dagster", ["dagster", "api", "grpc", *arguments])  # noqa: S606 (this process becomes the server)


if __name__ == "__main__":
    main()
