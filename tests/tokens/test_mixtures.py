import numpy as np
import pytest
import token_stages
from pydantic import ValidationError

from factory.errors import SeedmillError
from factory.tokens import blend, long_context, shards
from factory.tokens.blend import Available, allocate
from factory.tokens.config import PHI4_SHARES, BlendConfig
from factory.tokens.indexed import ShardWriter
from factory.tokens.tokenizer import load

SOURCES = token_stages.SOURCES
CLUSTERS = ("web", "web_rewrites", "synthetic", "code", "acquired")


@pytest.fixture(scope="module")
def made(trained, documents, tmp_path_factory):
    """The shards of all clusters, as inputs."""
    folder, contexts = tmp_path_factory.mktemp("shards"), {}
    for cluster in CLUSTERS:
        section = {"cluster": cluster, "sources": SOURCES}
        context = token_stages.stage(folder, f"token_shards/{cluster}", section, {"tokenizer": trained.out, **documents})
        shards.run(context)
        context.result()
        contexts[cluster] = context
    return contexts


def _inputs(made):
    return {f"token_shards/{cluster}": context.out for cluster, context in made.items()}


def _long(tmp_path, trained, documents, made, **section):
    inputs = {"tokenizer": trained.out, **documents, **_inputs(made)}
    context = token_stages.stage(tmp_path, "long_context_blend", {"sources": SOURCES, **section}, inputs)
    long_context.run(context)
    context.result()
    return context


def _megatron(folder):
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    return IndexedDataset(str(folder / "data"))


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1024, np.uint16), (100_352, np.int32)])
def test_megatron_reads_back_what_was_written(tmp_path, vocab_size, dtype):
    documents = [[1, 2, 3], [vocab_size - 1], [5] * 1000]
    with ShardWriter(tmp_path / "shard", vocab_size) as shard:
        for ids in documents:
            shard.add(ids)
    dataset = _megatron(tmp_path / "shard")
    assert [dataset[index].tolist() for index in range(len(dataset))] == documents
    assert dataset[0].dtype == dtype
    assert dataset.document_indices.tolist() == [0, 1, 2, 3]


def test_megatron_itself_would_have_written_the_same_bytes(tmp_path):
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    documents = [[1, 2, 3], [7], [9, 9]]
    builder = IndexedDatasetBuilder(str(tmp_path / "data.bin"), dtype=np.uint16)
    with ShardWriter(tmp_path / "ours", 1024) as shard:
        for ids in documents:
            shard.add(ids)
            builder.add_document(torch.tensor(ids), [len(ids)])
    builder.finalize(str(tmp_path / "data.idx"))
    for name in ("data.bin", "data.idx"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_copies_are_documents_of_their_own(tmp_path):
    with ShardWriter(tmp_path / "shard", 1024) as shard:
        assert [list(shard.add([1, 2])), list(shard.add([3, 4, 5], copies=2)), list(shard.add([6]))] == [[0], [1, 2], [3]]
    dataset = _megatron(tmp_path / "shard")
    assert [dataset[index].tolist() for index in range(4)] == [[1, 2], [3, 4, 5], [3, 4, 5], [6]]
    assert (tmp_path / "shard" / "data.bin").stat().st_size == 2 * dataset.sequence_lengths.sum()


def test_a_writer_that_fails_leaves_no_index(tmp_path):
    with pytest.raises(OverflowError), ShardWriter(tmp_path / "shard", 1024) as shard:
        shard.add([70_000])
    assert not (tmp_path / "shard" / "data.idx").exists()


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_shard_holds_its_records_in_order_each_ended_by_eod(made, trained, documents, cluster):
    tokenizer, dataset = load(trained.out), _megatron(made[cluster].out / "shard")
    text = {row["id"]: row["text"] for path in documents.values() for row in token_stages.opened(path).records("documents")}
    rows = list(token_stages.opened(made[cluster].out).records("index"))
    assert [row["document"] for row in rows] == list(range(len(dataset)))
    for row in rows:
        ids = dataset[row["document"]].tolist()
        assert len(ids) == row["tokens"]
        assert ids[-1] == tokenizer.eod
        assert tokenizer.decode(ids[:-1]) == text[row["record"]]


def test_every_document_is_in_a_shard_or_in_the_counts(made):
    web, code, synthetic = (made[name].counts for name in ("web", "code", "synthetic"))
    assert (web.kept, web.dropped) == (40, {"another cluster": 80})
    assert code.read == code.kept + sum(code.dropped.values()) == 120 + 64
    assert synthetic.dropped == {"another cluster": 30, "left to midtraining": 4}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_synthetic_programs_make_about_their_share_of_the_code(trained, tmp_path, share):
    source = token_stages.modules(0, 1)[0].read_text()
    clean = [token_stages.document("modules", str(n), source[n : n + 1000]) for n in range(300)]
    programs = [token_stages.document("sums", str(n), source[n : n + 400], cluster="code", kind="program") for n in range(300)]
    inputs = {
        "tokenizer": trained.out,
        "clean_documents": token_stages.artefact(tmp_path, "clean_documents", clean),
        "synthetic_documents": token_stages.artefact(tmp_path, "synthetic_documents", programs, token_stages.CLUSTERED),
    }
    section = {"cluster": "code", "sources": SOURCES, "synthetic_code_share": share, "long": {"min_tokens": 10**6}}
    context = token_stages.stage(tmp_path, "token_shards/code", section, inputs)
    shards.run(context)
    size = {row["id"]: len(row["text"]) for row in [*clean, *programs]}
    taken = [row["record"] for row in token_stages.opened(context.out).records("index")]
    written = sum(size[record] for record in taken if size[record] < 1000)
    assert written / sum(size[record] for record in taken) == pytest.approx(share, abs=0.05)
    assert len(taken) >= 300


def test_a_source_without_a_cluster_is_an_error_that_names_it(trained, documents, tmp_path):
    section = {"cluster": "web", "sources": {"pages": "web", "modules": "code"}}
    context = token_stages.stage(tmp_path, "token_shards/web", section, {"tokenizer": trained.out, **documents})
    with pytest.raises(SeedmillError, match="source 'manual' has no cluster"):
        shards.run(context)


def test_a_cluster_without_documents_is_an_error(trained, documents, tmp_path):
    section = {"cluster": "web", "sources": dict.fromkeys(SOURCES, "code")}
    context = token_stages.stage(tmp_path, "token_shards/web", section, {"tokenizer": trained.out, **documents})
    with pytest.raises(SeedmillError, match=r"cluster 'web' has no document: {'another cluster': 120}"):
        shards.run(context)


def test_table_5_of_phi_4():
    unique = {"web": 1.3e12, "web_rewrites": 290e9, "synthetic": 290e9, "code": 820e9, "acquired": 580e9}
    has = {name: Available(documents=1, tokens=int(tokens)) for name, tokens in unique.items()}
    rows = {entry.name: entry for entry in allocate(PHI4_SHARES, has, 10**13)}
    assert sum(entry.allocated for entry in rows.values()) == 10**13
    epochs = {"web": 1.15, "web_rewrites": 5.17, "synthetic": 13.79, "code": 2.44, "acquired": 1.72}
    assert {name: round(entry.epochs, 2) for name, entry in rows.items()} == epochs
    # The paper rounds to one digit, web (1.2) and web rewrites (5.2) included.
    paper = {"web": 1.2, "web_rewrites": 5.2, "synthetic": 13.8, "code": 2.4, "acquired": 1.7}
    assert {name: entry.epochs for name, entry in rows.items()} == pytest.approx(paper, abs=0.051)


def test_shares_that_do_not_sum_to_1_are_an_error_with_the_sum():
    with pytest.raises(ValidationError, match=r"shares\n.*the shares sum to 0.9, not 1") as error:
        BlendConfig(shares={"web": 0.5, "code": 0.4})
    assert error.value.error_count() == 1


def test_a_share_of_an_empty_cluster_is_an_error():
    with pytest.raises(SeedmillError, match=r"cluster 'code' has a share of 0\.5 but no tokens"):
        allocate({"web": 0.5, "code": 0.5}, {"web": Available(documents=1, tokens=10)}, 100)


def test_the_blend_counts_what_the_shards_hold(made, tmp_path):
    context = token_stages.stage(tmp_path, "pretraining_blend", {"total_tokens": 10**6}, _inputs(made))
    blend.run(context)
    value = token_stages.opened(context.out).json("blend.json")
    assert (value["total_tokens"], value["sequence_length"]) == (10**6, 256)
    for row in value["clusters"]:
        # The data set must outlive its arrays: it unmaps their memory when it goes.
        dataset = _megatron(made[row["name"]].out / "shard")
        assert (row["documents"], row["tokens"]) == (len(dataset), dataset.sequence_lengths.sum())
        assert row["epochs"] == pytest.approx(row["share"] * 10**6 / row["tokens"])


def test_long_documents_are_whole_natural_or_made_long_and_upweighted_from_2n(made, trained, documents, tmp_path):
    context = _long(tmp_path, trained, documents, made)
    dataset = _megatron(context.out / "long")
    rows = list(token_stages.opened(context.out).records("index"))
    wanted = {row["id"]: row for row in [*token_stages.organic(), *token_stages.written()]}
    assert len(rows) == len(dataset)
    assert {wanted[row["record"]]["kind"] for row in rows} == {"document", "worksheet"}
    assert {wanted[row["record"]]["source"] for row in rows} == {"modules", "manual", "sums"}
    copies = [row["record"] for row in rows]
    for row in rows:
        assert row["tokens"] == len(dataset[row["document"]]) > 512
        assert copies.count(row["record"]) == (2 if row["tokens"] >= 1024 else 1)


def test_the_midtraining_mixture_is_30_percent_new_and_70_recall(made, trained, documents, tmp_path):
    value = token_stages.opened(_long(tmp_path, trained, documents, made).out).json("blend.json")
    shares = {row["name"]: row["share"] for row in value["clusters"]}
    assert shares["long"] == value["long_share"] == 0.3
    assert sum(row["share"] for row in value["recall"]) == pytest.approx(0.7)
    assert shares["synthetic"] == pytest.approx(0.7 * 0.4)


def test_no_training_sees_a_held_out_document(made, trained, documents, tmp_path):
    context = _long(tmp_path, trained, documents, made)
    opened = token_stages.opened(context.out)
    held_out = {row["record"] for row in opened.records("held_out_index")}
    assert held_out
    assert len(_megatron(context.out / "long_held_out")) == len(held_out) == context.counts.dropped["held out for evaluation"]
    seen = {row["record"] for shard in made.values() for row in token_stages.opened(shard.out).records("index")}
    assert not held_out & (seen | {row["record"] for row in opened.records("index")})


def test_shards_that_disagree_about_what_is_held_out_are_found(made, trained, documents, tmp_path):
    with pytest.raises(SeedmillError, match="is trained on in token_shards/"):
        _long(tmp_path, trained, documents, made, long={"held_out_share": 0.6})


def test_nothing_long_is_an_error_that_names_the_setting(made, trained, documents, tmp_path):
    with pytest.raises(SeedmillError, match=r"long\.min_tokens = 10000000"):
        _long(tmp_path, trained, documents, made, long={"min_tokens": 10**7})
