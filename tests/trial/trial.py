"""The `factory` command as a user types it, in a workspace and with a recipe of the test's own."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "recipes" / "smoke.yaml"
LIMIT = 240
PROSE = (
    "Lists are ordered and may be changed in place. A tuple cannot be changed, because other code may rely on it. If you need "
    "a key for a dictionary, use a tuple, since it is hashable; therefore the lookup will work, for example in a cache."
)


@dataclass
class Done:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    def fails_in_one_line(self) -> str:
        """The error's text; it must be one line, and the exit status must say so."""
        assert self.status not in (0, None), self.out
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err


@dataclass
class Trial:
    """A workspace `home`, and a recipe beside it: the smoke recipe with other sections."""

    home: Path
    recipe: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, **sections: Any) -> None:
        """Write the recipe: the smoke recipe with these sections in place of its own."""
        self.recipe.write_text(yaml.safe_dump(yaml.safe_load(SMOKE.read_text()) | sections))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command, running."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEEDMILL_HOME": str(self.home), **self.environment}
        command = [str(Path(sys.executable).with_name("factory")), *words, "--recipe", str(self.recipe)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __call__(self, *words: str) -> Done:
        """The command, ended."""
        process = self.start(*words)
        out, err = process.communicate(timeout=LIMIT)
        return Done(process.returncode, out, err)

    def states(self) -> dict[str, str]:
        """What `status` says of every asset."""
        done = self("status", "--json")
        assert done.status == 0, done.err
        return {row["asset"]: row["state"] for row in json.loads(done.out)["assets"]}

    def manifests(self) -> dict[str, dict[str, Any]]:
        """The manifests of the store, newest version last and so the one that counts."""
        paths = [path for path in (self.home / "store/artifacts").glob("**/manifest.json") if "attempts" not in path.parts]
        parsed = sorted((json.loads(path.read_bytes()) for path in paths), key=lambda manifest: manifest["ended"])
        return {manifest["asset"]: manifest for manifest in parsed}

    def events(self) -> list[dict[str, Any]]:
        """What the last run said."""
        files = sorted(self.home.glob("runs/smoke/*/events.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(line) for line in files[-1].read_text().splitlines() if line.endswith("}")] if files else []

    def made(self) -> set[str]:
        """The assets that the last run made anew."""
        return {event["asset"] for event in self.events() if event["kind"] == "finished" and not event["reused"]}

    def wait_for(self, kind: str, asset: str, process: subprocess.Popen[str]) -> None:
        """Wait until the run says something of an asset."""
        deadline = time.monotonic() + LIMIT
        while not any(event["kind"] == kind and event["asset"] == asset for event in self.events()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to everything that works in this workspace."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("SEEDMILL_HOME") == str(self.home):
                    process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue


def digests(trial: Trial) -> dict[str, str]:
    """The digest of every asset in the store."""
    return {asset: manifest["digest"] for asset, manifest in trial.manifests().items()}


def folder(path: Path, **more: Any) -> dict[str, Any]:
    """A source that is a folder."""
    return {"kind": "folder", "path": str(path), "cluster": "acquired", "license": "MIT", **more}
