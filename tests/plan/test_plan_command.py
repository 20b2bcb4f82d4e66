import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize(
    ("layout", "refused", "least"),
    [
        ({"data": 7}, "global_batch 5760 must be a multiple of micro_batch 1 x layout.data 7", 8),
        ({"tensor": 3}, "layout.tensor 3 does not divide", 4),
        ({"pipeline": 3}, "layout.pipeline 3 does not divide", 4),
        ({"tensor": 20, "data": 96, "sequence_parallel": True}, "sequence_length 4096 must be a multiple", 1920),
    ],
    ids=str,
)
def test_a_layout_that_the_recipes_own_rules_refuse_gets_a_proposal_that_works(factory, tmp_path, layout, refused, least):
    path = tmp_path / "recipe.yaml"
    recipe = yaml.safe_load((RECIPES / "phi4-14b.yaml").read_text())
    recipe["training"]["pretrain"]["layout"] = layout
    path.write_text(yaml.safe_dump(recipe))
    status, out, errors = factory("plan", path)
    assert (status, out) == (1, "")
    assert errors.startswith(f"error: {path}: training.pretrain: ")
    assert refused in errors
    better = re.search(r"This works on (\d+) GPUs, .*: micro_batch: (\d+), fp8: (\w+), layout: (\{.*\})$", errors)
    assert int(better[1]) == least
    recipe["training"]["pretrain"] |= {"micro_batch": int(better[2]), "fp8": better[3], "layout": yaml.safe_load(better[4])}
    path.write_text(yaml.safe_dump(recipe))
    assert factory("plan", path)[0] == 0


def test_what_is_wrong_beside_a_layout_is_said_without_a_proposal(factory, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text((RECIPES / "phi4-14b.yaml").read_text() + "\nlayuot: {data: 7}\n")
    status, _, errors = factory("plan", path)
    assert (status, "unknown key layuot" in errors, "This works" in errors) == (1, True, False)


def test_a_plan_says_what_it_leaves_out(factory):
    _, out, _ = factory("plan", RECIPES / "one-gpu.yaml")
    assert "not in the store's figures: documents" in out
    assert "no time is given for what samples" in out
    assert "not in the teacher's figures: checks of what the pivotal search draws" in out


def test_a_sum_below_a_hundred_shows_its_cents(factory, tmp_path):
    recipe = yaml.safe_load((RECIPES / "smoke.yaml").read_text())
    recipe["synthesis"]["teacher"] = {"price_per_million_input": 1, "price_per_million_output": 2}
    recipe["evaluation"]["checker"] = {"kind": "openai", "model": "m"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    status, out, errors = factory("plan", tmp_path / "recipe.yaml")
    assert (status, errors) == (0, "")
    (line,) = (line for line in out.splitlines() if line.startswith("evaluation, checks"))
    assert line.split()[-1] == "0.58"  # 400 checks of 424 tokens, half of 1024 answered: 0.17 + 0.41


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
