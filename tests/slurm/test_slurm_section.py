"""The recipe's section `cluster`: what it says opens the launcher that it names, and a mistake is found before anything runs."""

from pathlib import Path

import pytest

from factory.cluster import LocalLauncher, SlurmLauncher, open_launcher
from factory.errors import SeedmillError
from factory.recipe import load

SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke.yaml"


def with_cluster(folder: Path, section: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"{SMOKE.read_text()}\ncluster: {section}\n")
    return path


def test_the_launcher_that_a_recipe_names_is_opened(tmp_path):
    recipe = load(with_cluster(tmp_path, "{launcher: slurm, partition: gpu, time_limit: 2-12, options: [--qos=long]}"))
    opened = open_launcher(recipe.cluster, tmp_path)
    assert isinstance(opened, SlurmLauncher)
    assert opened.config.partition == "gpu"
    assert isinstance(open_launcher(load(SMOKE).cluster, tmp_path), LocalLauncher)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{launcher: slrum}", r"cluster: .*slrum.*'local', 'slurm'"),
        ("{partition: gpu}", r"cluster.*launcher"),
        ("{launcher: slurm, partion: gpu}", r"unknown key cluster\.slurm\.partion"),
        ("{launcher: local, partition: gpu}", r"unknown key cluster\.local\.partition"),
        ("{launcher: slurm, time_limit: two hours}", r"cluster\.slurm\.time_limit \(value 'two hours'\)"),
        ("{launcher: slurm, time_limit: 4:00:00}", r"cluster\.slurm\.time_limit \(value 14400\): .*put the limit in quotes"),
        ("{launcher: slurm, options: [--output=x]}", r"--output is set by the launcher: remove it"),
        ("{launcher: slurm, options: [--cpus-per-task=8]}", r"--cpus-per-task is set by the launcher: .*cores_per_rank"),
        ("{launcher: slurm, options: [--gpus-per-node=8]}", r"--gpus-per-node is set by the launcher: .*gpus_per_rank"),
        ("{launcher: slurm, options: [gpus=8]}", r"'gpus=8' is no long option"),
        ("{launcher: slurm, secrets: [OPENAI_API_KEY=x]}", r"cluster\.slurm\.secrets\.0 .*pattern"),
        ("{launcher: slurm, secrets: [KEY], options: [--export=NONE]}", r"options holds --export, .*remove one of the two"),
        ("{launcher: slurm, ssh: -oProxyCommand=x}", r"would be read as an option of ssh"),
        ("{launcher: slurm, ranks_per_node: 0}", r"cluster\.slurm\.ranks_per_node \(value 0\)"),
    ],
    ids=str,
)
def test_a_mistake_in_the_section_is_one_error_that_names_it(tmp_path, section, message):
    with pytest.raises(SeedmillError, match=message):
        load(with_cluster(tmp_path, section))
