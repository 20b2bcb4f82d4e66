from world import checkpoint, derive, document, file, records

from factory.lineage.diff import diff, differences


def test_differences_are_leaves_with_their_paths():
    old = {"a": {"b": 1, "c": [1, 2]}, "same": 0, "gone": True}
    new = {"a": {"b": 2, "c": [1]}, "same": 0, "new": "x"}
    assert differences(old, new) == [
        {"field": "a.b", "old": 1, "new": 2},
        {"field": "a.c", "old": [1, 2], "new": [1]},
        {"field": "gone", "old": True, "new": None},
        {"field": "new", "old": None, "new": "x"},
    ]


def test_a_version_does_not_differ_from_itself(small):
    same = diff(small.store, small.latest["sft_checkpoint"], small.latest["sft_checkpoint"])
    assert same["same_content"]
    assert [same[part] for part in ("own", "inputs", "causes", "figures", "environment")] == [[], [], [], [], []]


def test_a_changed_setting_code_and_seed_are_the_versions_own(world):
    old = world.latest["pretrained_checkpoint"]
    inputs = tuple(u.asset for u in old.inputs)
    new = world.make("pretrained_checkpoint", checkpoint("better", []), inputs, section={"lr": 0.2}, code_version=2, seed=5, commit="def")
    found = diff(world.store, old, new)
    assert not found["same_content"]
    assert found["own"] == [
        {"field": "code_version", "old": 1, "new": 2},
        {"field": "seed", "old": 0, "new": 5},
        {"field": "recipe.lr", "old": 0.1, "new": 0.2},
    ]
    assert found["inputs"] == found["causes"] == []
    assert {"field": "metrics.loss", "old": 4, "new": 6} in found["figures"]
    assert found["environment"] == [{"field": "commit", "old": "abc123", "new": "def"}]


def test_a_difference_far_above_is_found_where_it_began(world):
    old = world.latest["web_rewrites"]
    clean = [derive(document(n), text=f"other {n}", created_by="clean@1") for n in range(2)]
    passages = [derive(row, text=row["text"][:3], created_by="seeds@1") for row in clean]
    world.make("clean_documents", records("documents", clean), ("raw_documents/web",), section={"share": 0.9})
    world.make("seed_passages", records("passages", passages), ("clean_documents",), section={"least": 1})
    new = world.make("web_rewrites", records("documents", passages), ("seed_passages",), section=old.section)
    found = diff(world.store, old, new)
    assert found["own"] == []
    assert [change["field"] for change in found["inputs"]] == ["seed_passages"]
    assert found["causes"] == [{"asset": "clean_documents", "changes": [{"field": "recipe.share", "old": 0.5, "new": 0.9}]}]


def test_an_input_that_only_one_side_has_is_a_cause(world):
    old = world.latest["tokenizer"]
    new = world.make("tokenizer", file("spec.json", "[]"), ("clean_documents", "web_rewrites"))
    found = diff(world.store, old, new)
    assert found["inputs"] == [{"field": "web_rewrites", "old": None, "new": world.latest["web_rewrites"].version}]
    assert [cause["asset"] for cause in found["causes"]] == ["seed_passages", "web_rewrites"]
