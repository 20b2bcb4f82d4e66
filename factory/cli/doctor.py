"""`factory doctor`: everything that a run needs, each thing looked at by itself, with the remedy where it is not as it should be."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from factory.cli.words import size
from factory.cluster.config import KubernetesConfig, SlurmConfig
from factory.errors import SeedmillError
from factory.graph import build
from factory.recipe import Recipe, load
from factory.store import open_store
from factory.store.local import LocalStore
from factory.store.s3 import S3Store
from factory.synthesis import sandbox

State = Literal["ok", "warn", "fail"]
PACKAGE = "seedmill"
LEAST_FREE, LITTLE_FREE = 1 << 30, 5 << 30
SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it stands, what was seen, and how to mend it."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(path: Path, seed: int | None) -> list[Finding]:
    """All findings. What depends on the recipe is left out where there is none that can be read."""
    findings = [python(), packages(), walls()]
    try:
        recipe = load(path, seed)
    except SeedmillError as error:
        return [*findings, Finding("recipe", "fail", str(error), "mend the file, or name another with --recipe")]
    checks: tuple[Callable[[Recipe], Finding], ...] = (sources, workspace, store, teacher, cluster, gpu)
    return [*findings, Finding("recipe", "ok", f"{path}: experiment {recipe.name!r}, seed {recipe.seed}"), *(c(recipe) for c in checks)]


def python() -> Finding:
    """The interpreter's version against what the package asks for."""
    wanted, found = metadata.metadata(PACKAGE)["Requires-Python"], platform.python_version()
    if found in SpecifierSet(wanted):
        return Finding("python", "ok", found)
    return Finding("python", "fail", f"{found}, but {wanted} is needed", "remove .venv and run `make PYTHON=python3.11`")


def packages() -> Finding:
    """The installed packages against the pins."""
    wrong = list(_wrong_packages())
    if wrong:
        return Finding("packages", "fail", "; ".join(wrong), "run `make clean model`, or install requirements.lock")
    return Finding("packages", "ok", "all installed at their pinned versions")


def _wrong_packages() -> Iterator[str]:
    for requirement in map(Requirement, metadata.requires(PACKAGE) or []):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is not installed"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name} is {found}, pinned {requirement.specifier}"


def walls() -> Finding:
    """Whether generated code runs in namespaces of its own."""
    if sandbox.walls(sandbox.SCRIPTS):
        return Finding("sandbox", "ok", "generated code runs behind bubblewrap")
    detail = "generated code is checked and limited, but sees this machine's files and network"
    return Finding("sandbox", "warn", detail, "install bubblewrap, and allow unprivileged user namespaces")


def sources(recipe: Recipe) -> Finding:
    """All that comes from outside as it lies there now: each must exist, be readable and hold a file that is asked for."""
    found = {stage.name.removeprefix("raw_documents/"): stage for stage in build(recipe).values() if stage.observe}
    wrong = []
    for name, stage in found.items():
        try:
            stage.look()
        except (SeedmillError, OSError) as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        return Finding("sources", "fail", "; ".join(wrong), "make them readable, or mend their sections in the recipe")
    return Finding("sources", "ok", f"{', '.join(found)}: all there")


def workspace(recipe: Recipe) -> Finding:
    """The folder of store, caches and runs: writable, and with room."""
    return _folder("workspace", recipe.workspace, "set SEEDMILL_HOME to a folder of yours with room")


def store(recipe: Recipe) -> Finding:
    """Where artefacts go: a writable folder, or a bucket that exists and may be read."""
    try:
        opened = open_store(recipe.store, recipe.workspace)
        if isinstance(opened, LocalStore):
            return _folder("store", opened.root, "set store.url in the recipe to a folder with room")
        assert isinstance(opened, S3Store)
        opened.bucket.check()
    except SeedmillError as error:
        return Finding("store", "fail", str(error), "mend it, or leave store.url empty to use a local folder")
    return Finding("store", "ok", f"bucket {opened.bucket.url()} can be reached")


def _folder(name: str, path: Path, remedy: str) -> Finding:
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        return Finding(name, "fail", f"{path}: {there} is a file, not a folder", remedy)
    free = shutil.disk_usage(there).free
    detail = f"{path}, {size(free) or '0B'} free"
    if not os.access(there, os.W_OK):
        return Finding(name, "fail", f"{path} cannot be written", remedy)
    if free < LEAST_FREE:
        return Finding(name, "fail", detail, f"make room: a run needs at least {size(LEAST_FREE)}; or {remedy}")
    return Finding(name, "warn" if free < LITTLE_FREE else "ok", detail, remedy if free < LITTLE_FREE else "")


def teacher(recipe: Recipe) -> Finding:
    """The teacher: a program of ours needs nothing, an endpoint needs a key and an answer."""
    config = recipe.synthesis.teacher
    if config.kind == "procedural":
        return Finding("teacher", "ok", f"{config.model}: a program, nothing to reach or to pay")
    if not os.environ.get(config.api_key_env):
        return Finding(
            "teacher", "fail", f"{config.api_key_env} is not set", f"export {config.api_key_env}=... (any text for a server of yours)"
        )
    return _endpoint(config.base_url, config.model, os.environ[config.api_key_env])


def _endpoint(url: str, model: str, key: str) -> Finding:
    import openai

    try:
        models = [entry.id for entry in openai.OpenAI(base_url=url, api_key=key, timeout=SECONDS, max_retries=0).models.list()]
    except openai.AuthenticationError:
        return Finding("teacher", "fail", f"{url} refuses the key", "check the key's variable (api_key_env in the recipe)")
    except openai.APIConnectionError as error:
        return Finding(
            "teacher",
            "fail",
            f"{url} cannot be reached: {error.__cause__ or error}",
            "start the server, or mend synthesis.teacher.base_url",
        )
    except openai.APIStatusError as error:
        return Finding(
            "teacher",
            "warn",
            f"{url} answers {error.status_code} to a list of models",
            "some servers list none; try a run with a small budget",
        )
    if model not in models:
        return Finding("teacher", "warn", f"{url} does not list {model!r} among {len(models)} models", "mend synthesis.teacher.model")
    return Finding("teacher", "ok", f"{model} at {url}")


def cluster(recipe: Recipe) -> Finding:
    """Where jobs run: this machine needs a core for each rank of the largest job, Slurm its commands, Kubernetes much."""
    if isinstance(recipe.cluster, SlurmConfig):
        return _slurm(recipe, recipe.cluster)
    if isinstance(recipe.cluster, KubernetesConfig):
        return _kubernetes(recipe)
    ranks = max(stage.layout.world_size for stage in recipe.training.stages.values())
    cores = len(os.sched_getaffinity(0))
    detail = f"local launcher, {cores} cores, largest job {ranks} ranks"
    if ranks > cores:
        return Finding("cluster", "warn", detail, "lower the layouts in the recipe, or choose another launcher: ranks would share cores")
    return Finding("cluster", "ok", detail)


def _slurm(recipe: Recipe, config: SlurmConfig) -> Finding:
    """Slurm's commands answer, and jobs that ask a language model over ssh get its key."""
    from factory.cluster.slurm_commands import SlurmCommands

    where = f"on {config.ssh}" if config.ssh else "on this machine"
    remedy = "check cluster.ssh and its key (ssh must not ask)" if config.ssh else "do so, or name a login node in cluster.ssh"
    try:
        version = SlurmCommands(config.ssh, seconds=2 * SECONDS).version()
    except SeedmillError as error:
        return Finding("cluster", "fail", f"sbatch does not answer {where}: {error}", remedy)
    key, asking = recipe.synthesis.teacher.api_key_env, _asking_jobs(recipe)
    if config.ssh and asking and key not in config.secrets:
        detail = f"jobs {where} get no {key}, which {', '.join(asking)} may need"
        return Finding("cluster", "warn", detail, f"set cluster.secrets to [{key}]")
    return Finding("cluster", "ok", f"{version} {where}")


def _asking_jobs(recipe: Recipe) -> list[str]:
    """The stages that ask a language model from a process of their own."""
    from factory.graph import build
    from factory.plan.data import teacher

    graph, asking = build(recipe), {plan.stage.partition(",")[0] for plan in teacher(recipe)}
    return sorted(name for name in asking if graph[name].process)


def _kubernetes(recipe: Recipe) -> Finding:
    """The cluster answers, serves the kinds of objects, and permits what the launcher asks; a claim holds the workspace."""
    from factory.cluster.kubernetes_api import KubernetesApi
    from factory.cluster.kubernetes_check import problems, version

    assert isinstance(recipe.cluster, KubernetesConfig)
    api = KubernetesApi(recipe.cluster)
    try:
        detail = f"Kubernetes {version(api)}, {recipe.cluster.kind}s in namespace {api.namespace}"
        found = list(problems(api, recipe.workspace))
    except SeedmillError as error:
        return Finding("cluster", "fail", str(error), "mend `cluster` in the recipe")
    if found:
        return Finding("cluster", "fail", "; ".join(it.detail for it in found), "; ".join(dict.fromkeys(it.remedy for it in found)))
    return Finding("cluster", "ok", detail)


def gpu(recipe: Recipe) -> Finding:
    """The GPUs that the driver shows; FP8 needs them, everything else runs without."""
    found = _gpus()
    if found:
        return Finding("gpu", "ok", "; ".join(found))
    fp8 = [name for name, stage in recipe.training.stages.items() if stage.fp8 != "none"]
    if fp8:
        return Finding(
            "gpu", "fail", f"none, but fp8 is on in training.{', training.'.join(fp8)}", "run where there is a GPU, or set fp8: none"
        )
    return Finding("gpu", "ok", "none: the recipe runs on the CPU")


def _gpus() -> list[str]:
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []
