"""What must hold on every kind of cluster; each room adds how its cluster counts launches."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_jobs import counting, digests, progress, training
from miniature import Mini
from training_worlds import World
from waiting import wait_for

from factory.cluster.api import Launcher, attend
from factory.cluster.local import LocalLauncher
from factory.experiment import Experiment
from factory.materialize import materialize
from factory.recipe import load
from factory.spec import JobSpec

SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke.yaml"
PRETRAINED = Path("store") / "artifacts" / "pretrained_checkpoint"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.add_blend({"web": 0.25, "code": 0.75})
    return made


@pytest.fixture(scope="module")
def undisturbed(world: World) -> dict[str, str]:
    """The digests that the local launcher's two ranks leave."""
    local, spec = LocalLauncher(world.root / "local"), training(world, "local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        local.submit(spec.key, spec)
        return digests(attend(local, spec.key, lambda _: None))


def every_job_of_a_graph_has_the_local_digest(root: Path, open_launcher: Callable[[Path], Launcher]) -> None:
    """Two of the four stages are jobs."""
    made = {}
    for name in ("local", "remote"):
        workspace = root / name
        workspace.mkdir()
        (workspace / "source.txt").write_text("one two three four")
        for asset in ("raw", "words", "loud", "total"):
            experiment = Mini(workspace, process=True).experiment()
            if name == "remote":
                experiment.launcher = open_launcher(workspace)
            made[name] = materialize(experiment, asset).manifest.digest
    assert made["local"] == made["remote"]
    assert not list((root / "remote").rglob("starts"))


def a_killed_orchestrator_is_followed_by_one_that_hears_it_all(root: Path, opener: str, again: Launcher, **settings: Any) -> None:
    """`opener` ("module:function") opens the first orchestrator's launcher in a process of its own, from root and settings."""
    spec = counting(root, 25, pause=0.2)
    (root / "spec.json").write_text(spec.model_dump_json())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, __file__, opener, str(root), json.dumps(settings)]
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(progress(again, spec)) >= 3)
    first.kill()
    first.wait()
    again.submit(spec.key, spec)
    heard: list[dict] = []
    attend(again, spec.key, heard.append)
    assert [m["done"] for m in heard if m["kind"] == "progress"] == list(range(1, 26))
    assert len({m["pid"] for m in heard if m["kind"] == "progress"}) == 1


def orchestrators_that_submit_at_once(root: Path, open_launcher: Callable[[Path], Launcher]) -> None:
    """Four of them; how many jobs there are then, the room must ask its cluster."""
    spec = counting(root, 3, pause=0.3)
    threads = [threading.Thread(target=open_launcher(root).submit, args=(spec.key, spec)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    attend(open_launcher(root), spec.key, lambda _: None)


def the_smoke_recipes_pretraining_has_the_local_digest(
    root: Path, smoke_home: Path, cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the checkpoint is taken from the finished run in `smoke_home`; `cluster` is the recipe's section."""
    (here,) = (smoke_home / PRETRAINED).glob("*/manifest.json")
    shutil.copytree(smoke_home / "store", root / "store")
    shutil.rmtree(root / PRETRAINED)
    recipe = root / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(yaml.safe_load(SMOKE.read_text()) | {"cluster": cluster}))
    monkeypatch.setenv("SEEDMILL_HOME", str(root))
    manifest = materialize(Experiment.open(load(recipe)), "pretrained_checkpoint").manifest
    assert (manifest.version, manifest.digest) == (here.parent.name, json.loads(here.read_bytes())["digest"])


def main(opener: str, root: Path, settings: dict[str, Any]) -> None:
    """The first orchestrator, which a test kills."""
    module, _, function = opener.partition(":")
    launcher = getattr(importlib.import_module(module), function)(root, **settings)
    spec = JobSpec.model_validate_json((root / "spec.json").read_bytes())
    launcher.submit(spec.key, spec)
    attend(launcher, spec.key, print)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
