import time

import pytest
from world import World, derive, document, records

from factory.errors import SeedmillError
from factory.lineage.trace import trace
from factory.store.local import LocalStore
from factory.tokens.shards import INDEX


def ids(small, asset: str, output: str = "documents") -> list[str]:
    import pyarrow.parquet as pq

    folder = small.store.outputs(small.latest[asset]) / output
    return pq.read_table(folder, columns=["id"])["id"].to_pylist()


def traced(world, record: str):
    return trace(world.store, list(world.latest.values()), record)


def of(found, part: str, kind: str) -> list[dict]:
    return [entry for entry in found[part] if entry["type"] == kind]


def test_a_chat_is_traced_back_to_the_page_that_it_began_with(small):
    (chat,) = ids(small, "sft_conversations", "conversations")
    found = traced(small, chat)
    above = [(entry["id"], entry["depth"], entry["assets"]) for entry in found["ancestors"]]
    assert above == [
        (ids(small, "web_rewrites")[0], 1, ["web_rewrites"]),
        (ids(small, "seed_passages", "passages")[0], 2, ["seed_passages"]),
        (ids(small, "clean_documents")[0], 3, ["clean_documents"]),
        (ids(small, "raw_documents/web")[0], 4, ["raw_documents/web"]),
    ]
    assert found["record"]["text"] == "chat"
    assert found["ancestors"][-1]["locator"] == "page/0"


def test_a_page_is_traced_forward_to_every_checkpoint_that_saw_what_it_fed(small):
    page = ids(small, "raw_documents/web")[1]
    found = traced(small, page)
    assert [entry["assets"][0] for entry in of(found, "descendants", "record")] == ["clean_documents", "seed_passages", "web_rewrites"]
    sets = {e["asset"]: (e["items"], e["tokens"]) for e in of(found, "descendants", "training set")}
    assert sets == {"token_shards/web": (1, 8), "token_shards/web_rewrites": (1, 8)}
    checkpoints = {e["asset"]: e for e in of(found, "descendants", "checkpoint")}
    assert list(checkpoints) == ["pretrained_checkpoint", "midtrained_checkpoint", "sft_checkpoint"]
    base = checkpoints["pretrained_checkpoint"]
    assert (base["seen"], base["first_step"], base["last_step"]) == (4, 1, 9)  # once in the web shard, three times as a rewrite
    assert checkpoints["midtrained_checkpoint"]["seen"] is None
    assert checkpoints["sft_checkpoint"]["through"] == ["midtrained_checkpoint"]


def test_chats_are_found_again_by_their_place_in_the_stored_order(small):
    found = traced(small, ids(small, "raw_documents/web")[0])
    sft = next(e for e in found["descendants"] if e.get("asset") == "sft_checkpoint")
    assert (sft["seen"], sft["first_step"], sft["last_step"]) == (1, 2, 3)
    assert sft["through"] == ["midtrained_checkpoint", "sft_conversations"]


def test_a_record_that_was_made_from_no_other_says_where_it_begins(small):
    problem, page = traced(small, ids(small, "benchmarks", "problems")[0]), traced(small, ids(small, "raw_documents/web")[0])
    assert problem["record"]["origin"] == {
        "asset": "benchmarks",
        "version": small.latest["benchmarks"].version,
        "seed": 0,
        "seeds": small.latest["benchmarks"].seeds,
        "source_version": None,
    }
    assert (page["record"]["origin"]["asset"], page["record"]["origin"]["seed"]) == ("raw_documents/web", None)
    assert [entry["origin"] for entry in of(page, "descendants", "record")] == [None] * 4


def test_a_page_that_was_dropped_fed_nothing(small):
    found = traced(small, ids(small, "raw_documents/web")[3])
    assert found["ancestors"] == found["descendants"] == []
    assert found["record"]["assets"] == ["raw_documents/web"]


def test_the_first_digits_of_an_id_will_do(small):
    whole = ids(small, "seed_passages", "passages")[0]
    assert traced(small, whole[:12]) == traced(small, whole)


def test_unknown_and_ambiguous_ids_are_clear_errors(small, world):
    with pytest.raises(SeedmillError, match="no record has an id that begins with 'xyz' in the"):
        traced(small, "xyz")
    with pytest.raises(SeedmillError, match="no record has an id that begins with ''"):
        traced(small, "")
    page = derive(document(0), text="x", created_by="clean@1")
    twin = {**page, "id": page["id"][:10] + "twin"}
    world.make("clean_documents", records("documents", [page, twin]), ("raw_documents/web",))
    with pytest.raises(SeedmillError, match=r"more than one record id begins with .*: give more digits"):
        traced(world, page["id"][:10])
    with pytest.raises(SeedmillError, match="no artefact of this experiment holds records yet"):
        trace(small.store, [], "a")


def test_records_that_came_to_have_the_same_text_do_not_make_a_trace_go_round(tmp_path):
    world = World(LocalStore(tmp_path))
    first = document(0, "same")
    changed = derive(first, text="other", created_by="b@1")
    back = derive(changed, text="same", created_by="c@1")
    assert back["id"] == first["id"]
    for asset, row in (("a", first), ("b", changed), ("c", back)):
        world.make(asset, records("documents", [row]))
    found = traced(world, first["id"])
    assert [e["id"] for e in found["ancestors"]] == [e["id"] for e in found["descendants"]] == [changed["id"]]


def test_a_trace_over_a_hundred_thousand_records_takes_less_than_three_seconds(tmp_path):
    world = World(LocalStore(tmp_path))
    pages = [document(n) for n in range(34_000)]
    clean = [derive(row, text=row["text"] + ".", created_by="clean@1") for row in pages]
    index = [{"document": n, "record": row["id"], "tokens": 5} for n, row in enumerate(clean)]
    world.make("raw_documents/web", records("documents", pages))
    world.make("clean_documents", records("documents", clean))
    world.make("token_shards/web", records("index", index, INDEX))
    start = time.process_time()
    found = traced(world, pages[7]["id"])
    assert time.process_time() - start < 3
    assert [e["id"] for e in found["descendants"]] == [clean[7]["id"]]
