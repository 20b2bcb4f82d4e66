import shutil

import pytest
from world import file

from factory.errors import SeedmillError
from factory.lineage.audit import audit
from factory.lineage.reference import before, materialized, resolve


def test_an_audit_names_exactly_what_was_read_each_once_and_upstream_first(small):
    found = audit(small.store, small.latest["sft_checkpoint"])
    names = [a["asset"] for a in found["artifacts"]]
    assert names[-1] == "sft_checkpoint"
    assert sorted(names) == sorted(
        {*small.latest} - {"benchmarks", "model_card", *(n for n in small.latest if n.startswith("evaluation/"))}
    )
    for position, artifact in enumerate(found["artifacts"]):
        manifest = small.latest[artifact["asset"]]
        assert artifact["inputs"] == [u.model_dump() for u in manifest.inputs]
        assert {u["asset"] for u in artifact["inputs"]} <= set(names[:position])
        assert (artifact["version"], artifact["digest"], artifact["seed"]) == (manifest.version, manifest.digest, manifest.seed)


def test_an_audit_says_who_wrote_and_adds_up(small):
    found = audit(small.store, small.latest["web_rewrites"])
    assert {a["asset"]: a["teacher"] for a in found["artifacts"]}["web_rewrites"] == "procedural-teacher"
    assert found["totals"]["artifacts"] == len(found["artifacts"]) == 4
    assert found["totals"]["seconds"] == 8.0


def test_an_audit_keeps_to_what_was_read_when_an_upstream_was_made_again(world):
    old = world.latest["seed_passages"]
    world.make("clean_documents", file("other.txt"), ("raw_documents/web",), section={"share": 0.9})
    read = {a["asset"]: a["version"] for a in audit(world.store, old)["artifacts"]}
    assert read["clean_documents"] == old.inputs[0].version != world.latest["clean_documents"].version


def test_an_audit_of_something_whose_upstream_is_gone_says_so(world):
    gone = world.latest["seed_passages"]
    shutil.rmtree(world.store.root / "artifacts/seed_passages" / gone.version)
    with pytest.raises(SeedmillError, match=f"was made from seed_passages {gone.version}, which is gone from the store"):
        audit(world.store, world.latest["web_rewrites"])


def test_references_name_the_last_version_a_version_or_another_experiments(world):
    first = world.latest["tokenizer"]
    second = world.make("tokenizer", file("spec.json", "[]"), ("clean_documents",), section={"size": 2})
    world.store.point("other", "tokenizer", first.version)
    assert resolve(world.store, "smoke", "tokenizer") == second
    assert resolve(world.store, "smoke", "smoke/tokenizer") == second
    assert resolve(world.store, "smoke", f"tokenizer@{first.version[:6]}") == first
    assert resolve(world.store, "smoke", "other/tokenizer") == first
    assert resolve(world.store, "smoke", "evaluation/sft_checkpoint") == world.latest["evaluation/sft_checkpoint"]
    assert before(world.store, second) == first


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("tokeniser", "no version of an asset 'tokeniser' is in the store; did you mean tokenizer"),
        ("zzz", "it has: benchmarks, clean_documents"),
        ("tokenizer@zz", "no version of tokenizer begins with 'zz'; it has: "),
        ("nobody/tokenizer", "tokenizer was never materialized by experiment 'nobody': materialize it first"),
        ("tokenizer@", "'tokenizer@' names no version after the @: leave out the @"),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(small, reference, message):
    with pytest.raises(SeedmillError) as caught:
        resolve(small.store, "smoke", reference)
    assert message in str(caught.value)


def test_what_was_not_made_yet_says_how_to_make_it_in_the_very_experiment(small):
    def how_to_make(experiment, asset):
        return f"make {asset} of {experiment}"

    for reference, how in (("gate", "make gate of smoke"), ("smoke-seed1/gate", "make gate of smoke-seed1")):
        with pytest.raises(SeedmillError, match=f": {how}$"):
            resolve(small.store, "smoke", reference, ["gate"], how_to_make)


def test_a_version_that_is_cut_too_short_and_a_first_version_are_told(world):
    for size in range(40):  # 40 versions over 16 first digits: some share one
        world.make("tokenizer", file("spec.json"), ("clean_documents",), section={"size": size})
    digits = [m.version[0] for m in world.store.versions("tokenizer")]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(SeedmillError, match=f"{digits.count(twice)} versions of tokenizer begin with '{twice}'"):
        resolve(world.store, "smoke", f"tokenizer@{twice}")
    with pytest.raises(SeedmillError, match="is the first version of its asset"):
        before(world.store, world.latest["benchmarks"])


def test_what_an_experiment_materialized_comes_in_the_order_of_its_graph(small):
    names = ["raw_documents/web", "extracted_documents", "clean_documents"]
    assert [m.asset for m in materialized(small.store, "smoke", names)] == ["raw_documents/web", "clean_documents"]
