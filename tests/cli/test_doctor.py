import json

import pytest
import yaml
from smoke_recipe import SMOKE

from factory.cli import doctor


@pytest.fixture
def recipe(tmp_path):
    """Write the smoke recipe with some sections changed."""

    def write(**changes) -> str:
        value = yaml.safe_load(SMOKE.read_text())
        for name, change in changes.items():
            value[name] = {**value.get(name, {}), **change}
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(value))
        return str(path)

    return write


def checks(done) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(done.out)["checks"]}


def openai_teacher(url: str) -> dict:
    return {
        "teacher": {
            "kind": "openai",
            "model": "m",
            "base_url": url,
            "api_key_env": "MILL_KEY",
            "price_per_million_input": 0,
            "price_per_million_output": 0,
        }
    }


def test_a_sound_installation_is_all_well(factory, workspace):
    done = factory("doctor", "--json")
    assert done.status == 0
    assert {name: check["state"] for name, check in checks(done).items() if check["state"] == "fail"} == {}
    assert {"python", "packages", "sandbox", "recipe", "sources", "workspace", "store", "teacher", "cluster", "gpu"} == set(checks(done))
    assert "ok   recipe: " in factory("doctor").out


def test_a_wrong_recipe_fails_with_its_error_and_the_rest_is_still_checked(factory, workspace):
    done = factory("doctor", "--recipe", "nowhere.yaml", "--json")
    assert done.status == 1
    assert checks(done)["recipe"]["state"] == "fail"
    assert checks(done)["python"]["state"] == "ok"


def test_a_teacher_without_a_key_or_an_answer_fails(factory, workspace, recipe, monkeypatch):
    path = recipe(synthesis=openai_teacher("http://127.0.0.1:9/v1"))
    monkeypatch.delenv("MILL_KEY", raising=False)
    found = checks(factory("doctor", "--recipe", path, "--json"))["teacher"]
    assert (found["state"], found["detail"]) == ("fail", "MILL_KEY is not set")
    assert found["remedy"].startswith("export MILL_KEY=")
    monkeypatch.setenv("MILL_KEY", "x")
    found = checks(factory("doctor", "--recipe", path, "--json"))["teacher"]
    assert (found["state"], "http://127.0.0.1:9/v1 cannot be reached" in found["detail"]) == ("fail", True)


def test_sources_that_are_not_there_are_all_named(factory, workspace, recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    gone = {name: {"kind": "folder", "path": str(tmp_path / name)} for name in ("gone", "empty")}
    found = checks(factory("doctor", "--recipe", recipe(sources=gone), "--json"))["sources"]
    assert found["state"] == "fail"
    assert f"gone: source folder '{tmp_path / 'gone'}' does not exist" in found["detail"]
    assert f"empty: source '{tmp_path / 'empty'}' has no file" in found["detail"]


def test_chats_of_one_s_own_are_looked_at_as_sources_are(factory, workspace, recipe, tmp_path):
    (tmp_path / "chats.d").mkdir()
    chats = {"mine": {"path": str(tmp_path / "chats.d"), "domain": "math"}}
    found = checks(factory("doctor", "--recipe", recipe(chats=chats), "--json"))["sources"]
    assert f"chats/mine: source '{tmp_path / 'chats.d'}' has no file that matches" in found["detail"]


def test_what_cannot_be_read_as_a_source_is_a_finding_and_never_a_traceback(factory, workspace, recipe, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/gone.txt").symlink_to(tmp_path / "linked/nowhere.txt")
    found = checks(factory("doctor", "--recipe", recipe(sources={"it": {"path": str(tmp_path / "linked")}}), "--json"))["sources"]
    assert (found["state"], "it: source file 'gone.txt' is a link that leads nowhere" in found["detail"]) == ("fail", True)


def test_a_file_in_place_of_a_folder_fails(factory, workspace, recipe, tmp_path, monkeypatch):
    (file := tmp_path / "file").write_text("x")
    found = checks(factory("doctor", "--recipe", recipe(store={"url": str(file)}), "--json"))["store"]
    assert (found["state"], f"'{file}' cannot be a folder" in found["detail"]) == ("fail", True)
    monkeypatch.setenv("SEEDMILL_HOME", str(file))
    found = checks(factory("doctor", "--json"))["workspace"]
    assert (found["state"], found["detail"]) == ("fail", f"{file}: {file} is a file, not a folder")


def test_no_room_at_all_is_a_number(factory, workspace, recipe):
    found = checks(factory("doctor", "--recipe", recipe(store={"url": "/proc/nope"}), "--json"))["store"]
    assert (found["state"], found["detail"]) == ("fail", "/proc/nope, 0B free")


def test_a_store_in_a_bucket_that_cannot_be_read_fails(factory, workspace, recipe, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    found = checks(factory("doctor", "--recipe", recipe(store={"url": "s3://mill/x"}), "--json"))["store"]
    assert found["state"] == "fail"
    assert "bucket s3://mill/x/: the service cannot be reached" in found["detail"]


def test_too_little_room_fails_and_little_room_warns(factory, workspace, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_FREE", 1 << 60)
    assert checks(factory("doctor", "--json"))["workspace"]["state"] == "warn"
    monkeypatch.setattr(doctor, "LEAST_FREE", 1 << 60)
    done = factory("doctor", "--json")
    assert done.status == 1
    assert "make room" in checks(done)["workspace"]["remedy"]


def test_packages_that_are_missing_or_of_another_version_are_named(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["duckdb==0.1", "no-such-thing>=1", "pytest; extra == 'dev'"])
    found = doctor.packages()
    assert found.state == "fail"
    assert "duckdb is " in found.detail
    assert "no-such-thing is not installed" in found.detail
    assert "pytest" not in found.detail


def test_more_ranks_than_cores_warn_and_fp8_needs_a_gpu(factory, workspace, recipe, monkeypatch):
    training = yaml.safe_load(SMOKE.read_text())["training"]
    training["pretrain"] |= {"layout": {"data": 8}, "micro_batch": 1, "fp8": "delayed", "precision": "bf16"}
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(doctor, "_gpus", list)
    found = checks(factory("doctor", "--recipe", recipe(training=training), "--json"))
    assert found["cluster"]["state"] == "warn"
    assert "2 cores, largest job 8 ranks" in found["cluster"]["detail"]
    assert (found["gpu"]["state"], "training.pretrain" in found["gpu"]["detail"]) == ("fail", True)


def test_a_cluster_whose_commands_do_not_answer_fails(factory, workspace, recipe, tmp_path, monkeypatch):
    path = recipe(cluster={"launcher": "slurm"})
    monkeypatch.setenv("PATH", str(tmp_path))
    found = checks(factory("doctor", "--recipe", path, "--json"))["cluster"]
    assert (found["state"], "sbatch does not answer on this machine" in found["detail"]) == ("fail", True)
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho slurm 24.05\n")
    (tmp_path / "sbatch").chmod(0o755)
    found = checks(factory("doctor", "--recipe", path, "--json"))["cluster"]
    assert (found["state"], found["detail"]) == ("ok", "slurm 24.05 on this machine")


@pytest.mark.parametrize(("walls", "state"), [((), "warn"), (("bwrap",), "ok")])
def test_whether_generated_code_has_walls_is_told(monkeypatch: pytest.MonkeyPatch, walls: tuple[str, ...], state: str) -> None:
    monkeypatch.setattr(doctor.sandbox, "walls", lambda _: walls)
    assert doctor.walls().state == state
