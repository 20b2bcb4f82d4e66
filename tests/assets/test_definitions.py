import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import assets.definitions
from assets.definitions import AUDIT, EVERYTHING, MODEL, RECIPES, definitions
from factory.errors import SeedmillError
from factory.graph import build, default_selection
from factory.recipe import load

SNAPSHOT = Path(__file__).with_name("graph.txt")


@pytest.fixture(scope="module")
def smoke() -> dg.Definitions:
    return definitions(RECIPES / "smoke.yaml")


@pytest.fixture(scope="module")
def stages():
    return build(load(RECIPES / "smoke.yaml"))


def test_the_definitions_can_be_loaded_by_dagster(smoke):
    dg.Definitions.validate_loadable(smoke)


def test_every_stage_is_an_asset_with_its_group_inputs_and_code_version(smoke, stages):
    graph = smoke.resolve_asset_graph()
    assert {"/".join(key.path[1:]) for key in graph.materializable_asset_keys} == set(stages)
    for stage in stages.values():
        node = graph.get(dg.AssetKey(["smoke", *stage.name.split("/")]))
        assert node.group_name == stage.group
        assert {"/".join(key.path[1:]) for key in node.parent_keys} == set(stage.inputs)
        assert node.code_version == str(stage.code_version)
        assert node.description == stage.description
        assert node.owners


def test_the_graph_is_the_one_that_was_written_down(stages):
    """A changed graph is a change for all who run it: update the file on purpose (its lines are GROUP ASSET)."""
    assert [f"{stage.group} {stage.name}" for stage in stages.values()] == SNAPSHOT.read_text().split("\n")[:-1]


def test_the_job_model_leaves_the_ablation_out_and_everything_holds_all(smoke, stages):
    def assets_of(job: str) -> set[str]:
        return {"/".join(key.path[1:]) for key in smoke.resolve_job_def(job).asset_layer.selected_asset_keys}

    assert assets_of(MODEL) == set(default_selection(stages))
    assert assets_of(EVERYTHING) == set(stages)
    assert {stage.group for name, stage in stages.items() if name not in assets_of(MODEL)} == {"ablation"}


def test_the_audit_checks_every_asset_and_the_other_jobs_leave_it_out(smoke, stages):
    def audits(job: str) -> int:
        return sum(node.name.endswith("outputs_intact") for node in smoke.resolve_job_def(job).nodes)

    assert [audits(job) for job in (AUDIT, MODEL, EVERYTHING)] == [len(stages), 0, 0]


def test_an_attribute_is_a_recipe_read_when_it_is_asked_for():
    assert isinstance(assets.definitions.smoke, dg.Definitions)
    with pytest.raises(AttributeError, match=r"there is no recipe .*nowhere\.yaml"):
        _ = assets.definitions.nowhere


def test_another_seed_is_another_experiment():
    keys = definitions(RECIPES / "smoke.yaml", seed=7).resolve_asset_graph().materializable_asset_keys
    assert {key.path[0] for key in keys} == {"smoke-seed7"}


def test_a_broken_recipe_is_one_error_that_names_the_field(tmp_path):
    (tmp_path / "broken.yaml").write_text("experiment: broken\nsources: {web: {kind: pydoc_html}}\nsead: 3\n")
    with pytest.raises(SeedmillError, match="unknown key sead"):
        definitions(tmp_path / "broken.yaml")


def test_the_dagster_process_never_imports_torch():
    program = (
        "import sys, assets.run, assets.ui, assets.definitions as d; d.smoke.resolve_asset_graph()\n"
        "print(sorted({'torch', 'megatron', 'transformers', 'sklearn', 'matplotlib'} & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_jobs_on_this_machine_share_a_pool_and_jobs_on_a_cluster_run_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr("factory.experiment.open_launcher", lambda *_: None)
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text((RECIPES / "smoke.yaml").read_text() + "\ncluster: {launcher: slurm}\n")
    stages = build(load(cluster))

    def pools(found: dg.Definitions) -> dict[str, str | None]:
        return {"/".join(key.path[1:]): one.op.pool for key, one in found.get_repository_def().assets_defs_by_key.items()}

    here, there = definitions(RECIPES / "smoke.yaml"), definitions(cluster)
    assert {name for name, pool in pools(here).items() if pool == "cores"} == {name for name, stage in stages.items() if stage.process}
    assert set(pools(there).values()) == {None}
    assert [found.executor.name for found in (here, there)] == ["in_process", "multiprocess"]
