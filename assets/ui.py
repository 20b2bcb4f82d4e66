"""The web UI: `python -m assets.ui` starts Dagster's webserver and daemon over the workspace's instance, and stops both.

They are started apart: `dagster dev` takes a minute on a busy machine and outlives a SIGTERM.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated

import typer

from assets.instance import open_instance
from factory.errors import SeedmillError

LOOPBACK = "127.0.0.1"
STARTUP_SECONDS, GRACE_SECONDS = 180, 15


def start(workspace: Path, port: int, locations: Path) -> list[subprocess.Popen[bytes]]:
    """The webserver and the daemon, both writing to `dagster/*.log` in the workspace."""
    open_instance(workspace).dispose()  # a new instance's tables are made here: the two would both make them, and one would fail
    folder = workspace / "dagster"
    programs = {
        "dagster-webserver": ["-h", LOOPBACK, "-p", str(port), "-w", str(locations)],
        "dagster-daemon": ["run", "-w", str(locations)],
    }
    return [_start(folder, name, arguments) for name, arguments in programs.items()]


def _start(folder: Path, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name(name)), *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "DAGSTER_HOME": str(folder)},
        )


def wait_until_it_answers(url: str, processes: list[subprocess.Popen[bytes]]) -> None:
    """Return when the webserver answers. Raises SeedmillError when a process ends first or none answers in time."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if any(process.poll() is not None for process in processes):
            break
        try:
            urllib.request.urlopen(f"{url}/server_info", timeout=5).close()  # noqa: S310 (our own loopback address)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.3)
        else:
            return
    raise SeedmillError(f"the web UI did not come up at {url}")


def watch(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for an interrupt. Raises SeedmillError when one of the two ends by itself."""
    while all(process.poll() is None for process in processes):
        time.sleep(0.5)
    raise SeedmillError("the webserver or the daemon ended by itself")


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask all to end, then kill what is left, their code servers included."""
    for process in processes:
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main(
    port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = 3000,
    locations: Annotated[Path, typer.Option(help="The file that lists the experiments.")] = Path("workspace.yaml"),
) -> None:
    """Serve the factory's graph until Ctrl-C."""
    workspace = Path(os.environ.get("SEEDMILL_HOME", ".seedmill")).resolve()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores SIGINT, and so would our children
        signal.signal(number, signal.default_int_handler)
    url = f"http://{LOOPBACK}:{port}"
    processes = start(workspace, port, locations)
    status = 0
    try:
        wait_until_it_answers(url, processes)
        sys.stdout.write(f"Dagster at {url}  (Ctrl-C ends it; logs in {workspace / 'dagster'})\n")
        sys.stdout.flush()
        watch(processes)
    except KeyboardInterrupt:
        sys.stdout.write("ending\n")
    except SeedmillError as error:
        sys.stderr.write(f"error: {error}; see the logs in {workspace / 'dagster'}\n")
        status = 1
    finally:
        stop(processes)
    raise typer.Exit(status)


if __name__ == "__main__":
    typer.run(main)
