"""Code location, web server and daemon as docker/ starts them, on ports of their own over a Postgres of a test's own."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml
from dagster import DagsterInstance, RunsFilter
from postgres_server import binaries, running

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKER = CHECKOUT / "docker"
PATIENCE = 180
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) { __typename } }"
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def image_command(keyword: str) -> list[str]:
    """The last CMD of the CPU image, or the command of its health check."""
    pattern = r"^HEALTHCHECK .*CMD (\[.*\])$" if keyword == "HEALTHCHECK" else r"^CMD (\[.*\])$"
    return json.loads(re.findall(pattern, (DOCKER / "cpu.Dockerfile").read_text(), re.MULTILINE)[-1])


def composed(name: str) -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"][name]


class Services:
    """Processes with the commands and probes of docker/; `module` and `location` name the definitions that the code location serves."""

    experiment = "smoke"

    def __init__(self, home: Path, environment: dict[str, str], module: str = "assets.definitions", location: str = "smoke") -> None:
        self.code, self.web = free_port(), free_port()
        self.home, self.module, self.location = home, module, location
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.orphans: list[psutil.Process] = []
        programs = str(Path(sys.executable).parent)
        own = {"DAGSTER_HOME": str(home), "DAGSTER_LOGS": str(home / "logs"), "SEEDMILL_HOME": str(home / "work"), "OMP_NUM_THREADS": "1"}
        self.environment = {
            **os.environ,
            **environment,
            **own,
            "SEEDMILL_CODE_HOST": "127.0.0.1",
            "PATH": f"{programs}:{os.environ['PATH']}",
        }
        self._write("dagster.yaml", "port: 5432", f"port: {environment['PGPORT']}")
        self._write("workspace.yaml", "port: 4000", f"port: {self.code}")

    def _write(self, name: str, old: str, new: str) -> None:
        text = (DOCKER / name).read_text()
        assert old in text
        (self.home / name).write_text(text.replace(old, new).replace("laptop", self.location))

    def command(self, name: str) -> list[str]:
        """What a service runs, as docker/ says."""
        return image_command("CMD") if name == "code" else composed(name)["command"]

    def probe(self, name: str) -> list[str]:
        """What finds a service healthy, as docker/ says."""
        return image_command("HEALTHCHECK") if name == "code" else composed(name)["healthcheck"]["test"][1:]

    def here(self, name: str, words: list[str]) -> list[str]:  # noqa: ARG002 (containers differ by service)
        """A service's command or probe with this test's ports, definitions and address."""
        places = {"4000": str(self.code), "3000": str(self.web), "0.0.0.0": "127.0.0.1", "laptop": self.location}
        places |= {"assets.definitions": self.module, "docker/workspace.yaml": str(self.home / "workspace.yaml")}
        return [places.get(word, word).replace("127.0.0.1:3000", f"127.0.0.1:{self.web}") for word in words]

    def start(self, name: str) -> None:
        """Start `code`, `web` or `daemon` and wait until its own probe finds it healthy."""
        command, probe = self.here(name, self.command(name)), self.here(name, self.probe(name))
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env=self.environment, cwd=CHECKOUT, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(probe, env=self.environment, cwd=CHECKOUT, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self.home / f"{name}.log").read_text()[-2000:]
            time.sleep(1)

    def kill(self, name: str) -> None:
        """SIGKILL to one service and to all that it has started, as at the end of its container."""
        process = self.processes.pop(name)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait()

    def kill_worker(self, worker: psutil.Process) -> None:
        """SIGKILL to a run or step worker alone; what it leaves behind ends with the test, as with its container."""
        self.orphans += worker.children(recursive=True)
        worker.kill()

    def run_worker(self) -> psutil.Process:
        """The process that executes the only run: a child of the code location."""
        return spawned_by(psutil.Process(self.processes["code"].pid))[0]

    def step_worker(self) -> psutil.Process:
        """The process that executes the run's only step: a child of the run worker, where the executor is the multiprocess one."""
        return spawned_by(self.run_worker())[0]

    def ask(self, query: str, **variables: object) -> dict:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.web}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["data"]

    def launch(self, asset: str) -> str:
        """Have the web server launch a run of one asset; the run's id."""
        chosen = {"repositoryLocationName": self.location, "repositoryName": "__repository__", "pipelineName": "__ASSET_JOB"}
        chosen["assetSelection"] = [{"path": [self.experiment, *asset.split("/")]}]
        launched = self.ask(LAUNCH, params={"selector": chosen, "mode": "default"})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def terminate(self, run_id: str) -> None:
        """Have the web server end a run, as its button does."""
        assert self.ask(TERMINATE, id=run_id)["terminateRun"] == {"__typename": "TerminateRunSuccess"}

    def outcome(self, run_id: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status = self.ask(STATUS, id=run_id)["runOrError"]["status"]
            if status in ENDED:
                return status
            time.sleep(1)
        return "still running"

    @contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        """What the services share, opened beside them."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            with DagsterInstance.from_config(str(self.home)) as opened:
                yield opened

    def stop(self) -> None:
        for orphan in self.orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def spawned_by(parent: psutil.Process) -> list[psutil.Process]:
    """The living children that Python's multiprocessing started as workers."""
    living = [child for child in parent.children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in living if "spawn_main" in " ".join(child.cmdline())]


def unended(instance: DagsterInstance) -> list[str]:
    """The runs that have not ended."""
    return [run.run_id for run in instance.get_runs(RunsFilter()) if run.status.value not in ENDED]


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[Services]:
    """All services, healthy. Without Postgres, CI fails and elsewhere the test is skipped."""
    server = binaries()
    if server is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("PostgreSQL's server is not installed: apt-get install postgresql")
    with running(server) as environment:
        services = Services(home, environment, **settings)
        try:
            for name in ("code", "web", "daemon"):
                services.start(name)
            yield services
        finally:
            services.stop()
