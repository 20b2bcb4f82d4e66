"""The recipe's section `cluster`: it opens the launcher that it names, and a mistake is found before anything runs."""

from pathlib import Path

import pytest

from factory.cluster import KubernetesLauncher, open_launcher
from factory.errors import SeedmillError
from factory.recipe import load

SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke.yaml"
LEAST = "launcher: kubernetes, image: 'seedmill:1', claims: {/work: work}"


def with_cluster(folder: Path, section: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"{SMOKE.read_text()}\ncluster: {{{section}}}\n")
    return path


def test_the_launcher_that_a_recipe_names_is_opened_without_a_cluster(tmp_path):
    opened = open_launcher(load(with_cluster(tmp_path, f"{LEAST}, kind: TrainJob, tolerations: [{{key: gpu}}]")).cluster, tmp_path)
    assert isinstance(opened, KubernetesLauncher)
    assert opened.config.kind == "TrainJob"
    assert opened.config.tolerations[0].operator == "Exists"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("launcher: kubernetes, claims: {/work: work}", r"cluster\.kubernetes\.image"),
        ("launcher: kubernetes, image: a, claims: {}", r"cluster\.kubernetes\.claims"),
        ("launcher: kubernetes, image: a, claims: {work: work}", r"'work' is no place for a claim: give an absolute path"),
        ("launcher: kubernetes, image: a, claims: {/tmp/: work}", r"'/tmp/' is no place for a claim"),
        (f"{LEAST}, kind: PyTorchJob", r"cluster\.kubernetes\.kind \(value 'PyTorchJob'\).*'JobSet' or 'TrainJob'"),
        (f"{LEAST}, environment: {{HF_TOKEN: x}}", r"HF_TOKEN looks like a secret, .*cluster\.secrets"),
        (f"{LEAST}, memory_per_rank: much", r"cluster\.kubernetes\.memory_per_rank \(value 'much'\)"),
        (f"{LEAST}, tolerations: [{{kee: gpu}}]", r"unknown key cluster\.kubernetes\.tolerations.*kee"),
        (f"{LEAST}, partition: gpu", r"unknown key cluster\.kubernetes\.partition"),
    ],
    ids=str,
)
def test_a_mistake_in_the_section_is_one_error_that_names_it(tmp_path, section, message):
    with pytest.raises(SeedmillError, match=message):
        load(with_cluster(tmp_path, section))
