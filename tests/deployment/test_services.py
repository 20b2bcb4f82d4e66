"""The three services as the images start them, over a real Postgres: each answers its health probe, and a run goes through all."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import postgres_server
import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKER = CHECKOUT / "docker"
PATIENCE = 120
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


class Services:
    """Processes with the commands and probes of docker/, on ports of their own."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.code, self.web = free_port(), free_port()
        self.home, self.processes = home, []
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
        (self.home / name).write_text(text.replace(old, new).replace("laptop", "smoke"))

    def here(self, command: list[str]) -> list[str]:
        """A command of the images with this test's ports, recipe and address."""
        places = {"4000": str(self.code), "3000": str(self.web), "0.0.0.0": "127.0.0.1", "laptop": "smoke"}
        places["docker/workspace.yaml"] = str(self.home / "workspace.yaml")
        return [places.get(word, word).replace("127.0.0.1:3000", f"127.0.0.1:{self.web}") for word in command]

    def start(self, name: str, command: list[str]) -> None:
        with (self.home / f"{name}.log").open("wb") as log:
            words = self.here(command)
            self.processes.append(subprocess.Popen(words, env=self.environment, cwd=CHECKOUT, stdout=log, stderr=log))

    def wait_for(self, name: str, probe: list[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(self.here(probe), env=self.environment, cwd=CHECKOUT, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self.home / f"{name}.log").read_text()[-2000:]
            time.sleep(1)

    def ask(self, query: str, **variables: object) -> dict:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.web}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["data"]

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def services(tmp_path):
    server = postgres_server.binaries()
    if server is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    with postgres_server.running(server) as environment:
        made = Services(tmp_path, environment)
        try:
            yield made
        finally:
            made.stop()


def image_command(keyword: str) -> list[str]:
    """The last CMD of the CPU image, or the command of its health check."""
    pattern = r"^HEALTHCHECK .*CMD (\[.*\])$" if keyword == "HEALTHCHECK" else r"^CMD (\[.*\])$"
    return json.loads(re.findall(pattern, (DOCKER / "cpu.Dockerfile").read_text(), re.MULTILINE)[-1])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_services_are_healthy_and_a_run_goes_through_all_of_them(services):
    composed = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    services.start("code", image_command("CMD"))
    services.wait_for("code", image_command("HEALTHCHECK"))
    for name in ("web", "daemon"):
        services.start(name, composed[name]["command"])
    for name in ("web", "daemon"):
        services.wait_for(name, composed[name]["healthcheck"]["test"][1:])
    chosen = {"repositoryLocationName": "smoke", "repositoryName": "__repository__", "pipelineName": "__ASSET_JOB"}
    chosen["assetSelection"] = [{"path": ["smoke", "raw_documents", "docstrings"]}]
    launched = services.ask(LAUNCH, params={"selector": chosen, "mode": "default"})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    assert outcome(services, launched["run"]["runId"]) == "SUCCESS"
    assert list((services.home / "work" / "store").rglob("manifest.json"))


def outcome(services: Services, run_id: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = services.ask(STATUS, id=run_id)["runOrError"]["status"]
        if status in {"SUCCESS", "FAILURE", "CANCELED"}:
            return status
        time.sleep(1)
    return "still running"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
