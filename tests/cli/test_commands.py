import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from smoke_recipe import SMOKE
from world import file

from factory.cli.proposal import proposal
from factory.cli.run import children_cpu_seconds

HEAVY = {"torch", "dagster", "transformers", "sklearn", "matplotlib", "megatron"}


def test_help_names_every_command(factory):
    shown = factory("--help")
    assert shown.status == 0
    for command in ("run", "status", "report", "audit", "diff", "trace", "chat", "doctor"):
        assert f" {command} " in shown.out


@pytest.mark.parametrize("words", [["--help"], ["audit", "sft_checkpoint", "--json"], ["report", "--json"], ["status", "--json"]])
def test_commands_that_only_look_never_load_what_is_slow(words, world):
    program = (
        "import sys; from factory.cli import main\n"
        f"sys.argv = ['factory', *{words!r}]\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        f"sys.stderr.write(repr({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "set()"


def test_an_audit_takes_less_than_two_seconds_of_work(world):
    before = children_cpu_seconds()
    command = [sys.executable, "-c", "from factory.cli import main; main()", "audit", "sft_checkpoint"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    assert children_cpu_seconds() - before < 2


def test_audit_prints_the_closure_for_programs_and_for_people(factory, world):
    found = json.loads(factory("audit", "sft_checkpoint", "--json").out)
    last = found["artifacts"][-1]
    assert (last["asset"], last["digest"]) == ("sft_checkpoint", world.latest["sft_checkpoint"].digest)
    assert {u["asset"] for u in last["inputs"]} == {"tokenizer", "midtrained_checkpoint", "sft_conversations"}
    shown = factory("audit", "smoke/sft_checkpoint").out
    assert "procedural-teacher" in shown
    assert "11 artefacts" in shown
    columns, *rows = (line.split() for line in shown.splitlines())
    where = columns.index("seed")
    seeds = {row[1]: row[where] for row in rows if row[0].isdigit()}
    assert (columns[where - 1 : where + 2], seeds["seed_passages"]) == (["code", "seed", "records"], "0")


def test_an_audit_of_an_older_version_is_asked_for_by_its_first_digits(factory, world):
    old = world.latest["tokenizer"].version
    world.make("tokenizer", file("spec.json", "[]"), ("clean_documents",), section={"size": 2})
    for words in (("tokenizer", "--version", old[:8]), (f"tokenizer@{old}",)):
        assert json.loads(factory("audit", *words, "--json").out)["version"] == old


def test_diff_compares_two_versions_or_the_last_with_the_one_before(factory, world):
    old = world.latest["tokenizer"].version
    new = world.make("tokenizer", file("spec.json", "[]"), ("clean_documents",), section={"size": 2}).version
    expected = [{"field": "recipe.size", "old": None, "new": 2}]
    found = json.loads(factory("diff", f"tokenizer@{old}", f"tokenizer@{new}", "--json").out)
    assert found["own"] == expected
    assert json.loads(factory("diff", "tokenizer", "--json").out) == found
    shown = factory("diff", "tokenizer").out
    assert f"tokenizer@{old} -> tokenizer@{new}" in shown
    assert "recipe.size" in shown


def test_trace_shows_where_a_record_came_from_and_what_saw_it(factory, world):
    page = json.loads(factory("trace", first_page(world), "--json").out)
    assert page["record"]["locator"] == "page/0"
    assert [e["asset"] for e in page["descendants"] if e["type"] == "checkpoint"][-1] == "sft_checkpoint"
    shown = factory("trace", first_page(world)).out
    assert "made from: no other record" in shown
    assert "read 1 times, between steps 2 and 3, through midtrained_checkpoint, sft_conversations" in shown


def first_page(world) -> str:
    import pyarrow.parquet as pq

    return pq.read_table(world.store.outputs(world.latest["raw_documents/web"]) / "documents")["id"][0].as_py()


def test_report_shows_stages_scores_and_what_to_do_next(factory, world, workspace):
    (workspace / "runs/smoke").mkdir(parents=True)
    summary = {"cpu_seconds": 90.0, "wall_seconds": 125.0, "peak_rss_bytes": 3_000_000_000, "load": [0.25, 1.5], "made": 7}
    (workspace / "runs/smoke/last.json").write_text(json.dumps(summary))
    found = json.loads(factory("report", "--json").out)
    assert {name: found[name] for name in summary} == summary
    assert [row["asset"] for row in found["checkpoints"]] == ["pretrained_checkpoint", "midtrained_checkpoint", "sft_checkpoint"]
    shown = factory("report").out
    for text in (
        "75.0% [59.8%, 85.8%] of 40",
        "rose",
        "no significant change",
        "the last run that made something (it made 7 assets) took 2m05s, 1m30s of CPU, at most 3GB of memory",
        "load of the machine at its start and end: 0.2 and 1.5",
        f"talk to it: factory chat judged_dpo_checkpoint --recipe {SMOKE} ",
        "make ui",
        "README.md",
    ):
        assert text in shown


def test_status_gives_every_asset_its_state_and_reason(factory, world):
    found = {row["asset"]: row for row in json.loads(factory("status", "--json").out)["assets"]}
    assert set(found["extracted_documents"]) == {"asset", "state", "why", "version"}
    assert found["extracted_documents"]["state"] == "missing"
    assert found["clean_documents"]["state"] == "pending"
    assert found["raw_documents/web"]["state"] == "stale"
    assert "missing" in factory("status").out


def test_status_tells_a_source_that_cannot_be_read_on_its_line_and_goes_on(factory, workspace, tmp_path):
    path, away = tmp_path / "recipe.yaml", tmp_path / "away"
    recipe = yaml.safe_load(SMOKE.read_text())
    recipe["sources"]["web"] = {"kind": "folder", "path": str(away), "cluster": "web"}
    path.write_text(yaml.safe_dump(recipe))
    done = factory("status", "--recipe", str(path), "--json")
    rows = {row["asset"]: row for row in json.loads(done.out)["assets"]}
    assert (done.status, rows["raw_documents/web"]["state"], rows["raw_documents/code"]["state"]) == (0, "unreadable", "missing")
    assert str(away) in rows["raw_documents/web"]["why"]
    assert "1 unreadable" in factory("status", "--recipe", str(path)).out


def test_another_seed_is_an_experiment_of_its_own(factory, world):
    found = factory("audit", "tokenizer", "--seed", "3")
    assert (found.status, found.out) == (1, "")
    remedy = f"run `factory run tokenizer --recipe {SMOKE} --seed 3` first"
    assert found.err == f"error: tokenizer was never materialized by experiment 'smoke-seed3': {remedy}\n"
    assert factory("audit", "smoke/tokenizer", "--seed", "3").status == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sede": 1}, "unknown key sede (value 1): remove it or mend its spelling"), ({"seed": -1}, "seed (value -1): ")],
)
def test_a_mistake_in_the_recipe_is_one_line_that_names_the_field(factory, workspace, tmp_path, change, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(SMOKE.read_text()) | change))
    for command in (["status"], ["report"], ["audit", "x"], ["trace", "x"], ["run"], ["chat"]):
        done = factory(*command, "--recipe", str(path))
        assert done.status == 1
        assert done.err.startswith(f"error: {path}: {message}")
        assert done.err.count("\n") == 1


def test_what_was_not_made_yet_says_how_to_make_it(factory, world, workspace):
    for command in (
        ["chat"],
        ["audit", "judged_dpo_checkpoint"],
        ["audit", "smoke/judged_dpo_checkpoint"],
        ["diff", "judged_dpo_checkpoint"],
    ):
        done = factory(*command)
        remedy = f"run `factory run judged_dpo_checkpoint --recipe {SMOKE}` first"
        assert (done.status, done.err) == (1, f"error: judged_dpo_checkpoint was never materialized by experiment 'smoke': {remedy}\n")
    assert "did you mean judged_dpo_checkpoint" in factory("chat", "judged_dpo_checkpont").err
    assert factory("report", "--seed", "5").out == f"nothing has been made yet: `factory run --recipe {SMOKE} --seed 5` makes the model\n"
    assert "take one from the column `id` of an output" in factory("trace", "zz").err


def test_a_workspace_that_cannot_be_one_is_named(factory, workspace):
    workspace.write_text("a file")
    done = factory("run", "benchmarks")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert done.err.startswith(f"error: {workspace}/runs/smoke")
    assert "set SEEDMILL_HOME" in done.err


def test_the_remedy_is_a_command_for_the_experiment_that_was_asked_for(factory, world):
    for words, remedy in (
        (["smoke-seed1/tokenizer"], f"run `factory run tokenizer --recipe {SMOKE} --seed 1` first"),
        (["smoke/sft_checkpoint@", "--seed", "1"], "leave out the @ for the one materialized last"),
        (["smoke/judged_pairs", "--seed", "1"], f"run `factory run judged_pairs --recipe {SMOKE}` first"),
        (["other/tokenizer"], "run `factory run tokenizer --recipe RECIPE` with the recipe of 'other' first"),
    ):
        done = factory("diff", "tokenizer", *words) if "--seed" not in words else factory("diff", *words)
        assert (done.status, done.err.count("\n")) == (1, 1)
        assert done.err.endswith(f": {remedy}\n")


def test_a_proposed_command_names_only_what_the_user_must_type(monkeypatch, tmp_path):
    own = tmp_path / ".venv/bin/factory"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(own.with_name("python")))
    monkeypatch.delenv("FACTORY_RECIPE", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path)
    laptop = Path("recipes/laptop.yaml")
    assert proposal("run", recipe=laptop, seed=None) == ".venv/bin/factory run"
    assert proposal("run", recipe=Path("my recipe.yaml"), seed=0) == ".venv/bin/factory run --recipe 'my recipe.yaml' --seed 0"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert proposal("run", recipe=laptop, seed=None) == f"{own} run"
    monkeypatch.setenv("PATH", str(own.parent))
    monkeypatch.setenv("FACTORY_RECIPE", "recipes/smoke.yaml")
    assert proposal("run", recipe=laptop, seed=None) == "factory run --recipe recipes/laptop.yaml"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["status", "--seed", "abc"], r"Invalid value for '--seed': .*integer.* \(value 'abc'\); see `factory status --help`"),
        (["plan", "--gpu", "x"], r"Invalid value for '--gpu': 'x' is not one of 'a100'.*'b200'; see `factory plan --help`"),
        (["audit"], r"Missing argument 'asset'; see `factory audit --help`"),
        (["auditt"], r"No such command 'auditt'.*; see `factory --help`"),
        (["status", "--nope"], r"No such option: --nope; see `factory status --help`"),
        (["chat", "--temperature", "9"], r"Invalid value for '--temperature': .* 2 \(value '9'\); see `factory chat --help`"),
    ],
)
def test_a_mistake_of_typing_is_one_line_with_the_value(factory, workspace, words, message):
    done = factory(*words)
    assert (done.status, done.out) == (2, "")
    assert re.fullmatch(f"error: {message}\n", done.err)


def test_no_command_at_all_is_answered_with_the_list_of_commands(factory, workspace):
    assert factory().out == factory("--help").out


def test_a_version_of_no_letters_is_not_the_latest(factory, world):
    for words in (["audit", "tokenizer", "--version", ""], ["audit", "tokenizer@"]):
        done = factory(*words)
        assert (done.status, "names no version after the @" in done.err) == (1, True)


def test_files_that_were_damaged_are_told_in_one_line(factory, world, workspace):
    (workspace / "runs/smoke").mkdir(parents=True)
    (workspace / "runs/smoke/last.json").write_text("{")
    (workspace / "store/experiments/smoke/benchmarks.json").write_text("")
    for command, name in (("report", "last.json"), ("status", "benchmarks.json")):
        done = factory(command)
        assert (done.status, done.err.count("\n"), f"{name} " in done.err) == (1, 1, True)
        assert "remove it, and the next run" in done.err


def test_trace_names_the_program_and_the_seed_of_what_was_made_from_nothing(factory, world):
    import pyarrow.parquet as pq

    problem = pq.read_table(world.store.outputs(world.latest["benchmarks"]) / "problems")["id"][0].as_py()
    version = world.latest["benchmarks"].version[:8]
    assert f"generated by benchmarks@1 in benchmarks@{version} from seed 0" in factory("trace", problem).out
    assert "generated by" not in factory("trace", first_page(world)).out


def test_a_workspace_where_nothing_can_be_made_is_named(factory, workspace, monkeypatch):
    monkeypatch.setenv("SEEDMILL_HOME", "/proc/x")
    done = factory("run", "benchmarks")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert re.match(r"error: /proc/x.*: No such file or directory; set SEEDMILL_HOME", done.err)


def test_a_recipe_that_is_not_there_is_one_line(factory, workspace):
    done = factory("status", "--recipe", "nowhere.yaml")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "recipe nowhere.yaml cannot be read" in done.err
