import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.fixture
def factory(monkeypatch, capsys):
    from factory.cli import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["factory", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


def test_the_papers_plan_names_the_published_figures(factory):
    status, out, _ = factory("plan", RECIPES / "phi4-14b.yaml")
    assert status == 0
    for figure in ("14,659,507,200", "25.6%", "423,856", "5,760", "89.9G", "1 x 12 x 480"):
        assert figure in out, figure


def test_a_refused_layout_is_an_error_with_a_proposal(factory):
    status, out, errors = factory("plan", RECIPES / "one-gpu.yaml", "--gpu", "a100", "--json")
    assert status == 1
    stages = {s["stage"]: s for s in json.loads(out)["stages"]}
    assert stages["pretrain"]["proposal"]["fp8"] == "none"
    assert stages["sft"]["problems"] == []
    assert errors.count("error: training.") == 2


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_has_a_plan(factory, recipe):
    status, out, errors = factory("plan", recipe, "--json")
    assert (status, errors) == (0, "")
    made = json.loads(out)
    for stage in made["stages"]:
        assert stage["memory_total"] == pytest.approx(sum(stage["memory"].values()))
        assert stage["micro_batch"] * stage["micro_batches"] * stage["gpus"] >= stage["global_batch"]
        assert stage["peak_bytes"] > stage["store_bytes"] > 0


def test_a_rate_that_was_measured_without_a_gpu_is_refused(factory, monkeypatch, tmp_path):
    monkeypatch.setenv("SEEDMILL_HOME", str(tmp_path))
    status, _, errors = factory("plan", RECIPES / "smoke.yaml", "--measured", "pretrained_checkpoint")
    assert status == 1
    assert errors.startswith("error: ")


def test_planning_loads_nothing_slow():
    program = (
        "import sys; from factory.cli import main\n"
        f"sys.argv = ['factory', 'plan', {str(RECIPES / 'phi4-14b.yaml')!r}, '--json']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.stderr.write(repr({'torch', 'dagster', 'megatron', 'boto3', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "set()"
