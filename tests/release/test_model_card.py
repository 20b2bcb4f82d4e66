import json
import re

import pytest
import release_stages
import yaml

from factory.errors import SeedmillError
from factory.release.facts import TRAINING, table
from factory.spec import Cost, Counts
from factory.store.manifest import Manifest, Upstream
from factory.tokens.blend import Available, allocate
from factory.tokens.config import PHI4_SHARES

CLUSTERS = [
    entry.model_dump() for entry in allocate(PHI4_SHARES, {name: Available(documents=3, tokens=70_000) for name in PHI4_SHARES}, 10**6)
]
CHANGE = {"n": 1000, "before": 0.412, "after": 0.6, "gained": 200, "lost": 12, "p_value": 3e-40, "verdict": "rose"}
GATE = {
    "candidate": "judged_dpo_checkpoint",
    "passed": False,
    "rules": [
        {"name": "greedy_accuracy", "value": 0.6, "sense": "at least", "threshold": 0.2, "holds": True},
        {"name": "unsafe_compliance", "value": 0.7, "sense": "at most", "threshold": 0.5, "holds": False},
    ],
    "comparisons": [{"before": "pretrained_checkpoint", "after": "sft_checkpoint", "greedy": CHANGE, "sampled": CHANGE | {"n": 500}}],
    "trivia": [
        {
            "checkpoint": "sft_checkpoint",
            "families": {"unanswerable": {"n": 200, "correct": 0.0, "not attempted": 0.955, "incorrect": 0.045}},
        }
    ],
}


def _manifest(asset, *, section=None, metrics=None, made=None, dropped=None, seconds=1.0):
    dropped = dropped or {}
    return Manifest(
        asset=asset,
        version=f"version of {asset}",
        digest="abcdef0123456789" + asset.encode().hex(),
        code_version=1,
        section=section or {},
        seed=7,
        source_version=None,
        inputs=[Upstream(asset="x", version="v", digest="d")],
        outputs=[],
        counts=Counts(read=100 + sum(dropped.values()), kept=100, dropped=dropped, made=made or {}),
        metrics=metrics or {},
        cost=Cost(money=seconds),
        seeds={},
        attempt=1,
        started="2026-01-01T00:00:00",
        ended="2026-01-01T00:00:01",
        seconds=seconds,
        cpu_seconds=seconds,
        peak_rss_bytes=1,
        where={"host": f"host-{seconds}"},
        commit="0" * 40,
        packages={},
    ).model_dump(mode="json")


def _manifests(**same):
    curated = ("extracted_documents", "filtered_documents", "unique_documents", "clean_documents", "seed_passages")
    return [
        _manifest("raw_documents/manual", section={"cluster": "acquired", "license": "PSF-2.0"}, **same),
        *(_manifest(name, dropped={"too | short": 1_234}, **same) for name in curated),
        _manifest("synthetic_documents", metrics={"teacher": "procedural@1"}, made={"exercise": 2_000}, **same),
        _manifest("tokenizer", section={"kind": "trained"}, **same),
        _manifest("pretraining_blend", metrics={"clusters": CLUSTERS}, **same),
        _manifest("long_context_blend", metrics={"clusters": CLUSTERS[:2]}, **same),
        _manifest("pivotal_pairs", made={"pair": 321}, **same),
        *(_manifest(name, section={"steps": 10}, made={"steps": 10, "tokens": 5_000}, **same) for name in TRAINING),
    ]


@pytest.fixture(scope="module")
def gate_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    (folder / "gate.json").write_text(json.dumps(GATE))
    return folder


def _card(folder, exported, gate_folder, manifests, **section):
    inputs = {"hugging_face_model": exported.out, "promotion_gate": gate_folder}
    return release_stages.stage(folder / "card", "factory.release.card:run", section, inputs, manifests=manifests)


@pytest.fixture
def card(tmp_path, exported, gate_folder):
    return (_card(tmp_path, exported, gate_folder, _manifests()).out / "README.md").read_text()


def test_the_front_matter_is_what_a_model_hub_reads(card):
    front = yaml.safe_load(card.split("---")[1])
    assert front == {"license": "apache-2.0", "library_name": "transformers", "pipeline_tag": "text-generation", "language": ["en"]}


def test_the_number_of_parameters_is_that_of_the_weights(card, exported):
    from safetensors.torch import load_file

    count = sum(tensor.numel() for tensor in load_file(exported.out / "model" / "model.safetensors").values())
    assert f"A {count:,}-parameter chat model" in card


def test_every_accuracy_has_its_interval_and_every_change_its_significance(card):
    # Wilson's interval for 412 of 1000 and 300 of 500.
    assert "| pretrained_checkpoint | greedy | 41.2% (38.2% to 44.3%) |  |  |" in card
    assert "| sft_checkpoint | sampled | 60.0% (55.6% to 64.2%) | rose: 200 gained, 12 lost | 3e-40 |" in card


def test_what_became_of_trivia_is_said_three_ways(card):
    assert "| sft_checkpoint | unanswerable | 200 | 0.0% | 95.5% | 4.5% |" in card


def test_a_failed_rule_is_said_and_is_a_limit(card):
    assert "did **not** pass" in card
    assert "| unsafe_compliance | 0.700 | at most 0.5 | **no** |" in card
    assert "misses the promotion gate's rule `unsafe_compliance`" in card


def test_sources_come_with_licence_and_count_and_synthetic_text_with_its_teacher(card):
    assert "| manual | acquired | PSF-2.0 | 100 |" in card
    assert "text was written by: procedural@1." in card
    assert "| synthetic_documents | exercise | 2,000 |" in card
    assert "| pivotal_pairs | pair | 321 |" in card


def test_questions_and_chats_of_one_s_own_come_with_licence_domain_and_languages(tmp_path, exported, gate_folder, card):
    chats = _manifest("chats/mine", section={"domain": "safety", "license": "CC-BY-4.0"}, metrics={"languages": {"de": 1_234, "fr": 2}})
    asked = _manifest("questions/gsm", section={"domain": "math", "license": "MIT"}, metrics={"languages": {"en": 3}})
    told = (_card(tmp_path / "own", exported, gate_folder, [*_manifests(), chats, asked]).out / "README.md").read_text()
    assert "| chats/mine | safety | CC-BY-4.0 | 100 | de: 1,234, fr: 2 |" in told
    assert "| questions/gsm | math | MIT | 100 | en: 3 |" in told
    assert "questions and chats" not in card


def test_the_mixture_comes_with_epochs(card):
    assert "| synthetic | 40.0% | 70,000 | 400,000 | 5.71 |" in card


def test_stages_come_with_tokens_and_the_sum_of_them(card):
    assert card.count("| fresh weights | 10 | 5,000 | 7 |") == 5
    assert "It saw 25,000 tokens in all." in card


def test_every_artefact_is_in_the_lineage(card):
    rows = re.findall(r"^\| (\S+) \| `version of (\S+)` \| `abcdef0123456789` \| 1 \|$", card, re.MULTILINE)
    assert [asset for asset, _ in rows] == sorted(manifest["asset"] for manifest in _manifests())


def test_a_card_holds_no_time_host_or_cost(tmp_path, exported, gate_folder, card):
    other = _card(tmp_path / "other", exported, gate_folder, _manifests(seconds=99.0))
    assert (other.out / "README.md").read_text() == card


def test_the_chat_example_is_python_and_names_the_model(tmp_path, exported, gate_folder):
    made = _card(tmp_path, exported, gate_folder, _manifests(), model_name="acorn-1")
    code = (made.out / "README.md").read_text().split("```python\n")[1].split("```")[0]
    compile(code, "example", "exec")
    assert 'from_pretrained("acorn-1")' in code


def test_the_chat_example_runs_on_the_released_folder(tmp_path, exported, card, monkeypatch, capsys):
    (tmp_path / "seedmill-tiny").symlink_to(exported.out / "model")
    monkeypatch.chdir(tmp_path)
    exec(card.split("```python\n")[1].split("```")[0].replace("max_new_tokens=96", "max_new_tokens=2"), {})
    assert capsys.readouterr().out


def test_a_missing_manifest_is_named(tmp_path, exported, gate_folder):
    without = [manifest for manifest in _manifests() if manifest["asset"] != "pretraining_blend"]
    with pytest.raises(SeedmillError, match="needs the manifest of pretraining_blend"):
        _card(tmp_path, exported, gate_folder, without)


def test_without_manifests_there_is_no_card(tmp_path, exported, gate_folder):
    with pytest.raises(SeedmillError, match="run it through the orchestrator"):
        _card(tmp_path, exported, gate_folder, [])


def test_a_bar_within_a_cell_does_not_end_it():
    assert table(["a"], [["x | y"]]) == "| a |\n| --- |\n| x \\| y |"
