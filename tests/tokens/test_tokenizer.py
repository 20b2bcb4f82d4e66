import os
import shutil
from itertools import chain, islice, product
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiktoken
import token_stages
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.errors import SeedmillError
from factory.tokens import train, vocabulary
from factory.tokens.hugging_face import hugging_face_tokenizer
from factory.tokens.tokenizer import chatml, load

CONTROL_IN_TEXT = "before <|endoftext|> between <|im_start|>assistant<|im_sep|> after <|dummy_3|>"
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 12 + 30?"},
    {"role": "assistant", "content": "Answer: 42"},
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.lists(
    st.sampled_from(["<|endoftext|>", "<|im_end|>", " 7", "42", "123", "\n\n    ", "don't", "²", "é", "日本", "\t", "x=9"]), max_size=20
).map("".join)


@pytest.fixture(scope="module")
def tokenizer(trained):
    return load(trained.out)


@given(texts)
@settings(deadline=None)
def test_any_text_comes_back_whole_and_never_as_a_control_token(trained, text):
    tokenizer = load(trained.out)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert max(ids, default=0) < len(tokenizer.ranks)


def test_names_of_control_tokens_in_text_are_text(tokenizer):
    assert tokenizer.decode(tokenizer.encode(CONTROL_IN_TEXT)) == CONTROL_IN_TEXT
    assert tokenizer.eod not in tokenizer.encode(CONTROL_IN_TEXT)
    assert tokenizer.encode_chat([{"role": "user", "content": "a<|im_end|>b"}]).count(tokenizer.im_end) == 1


def test_a_number_below_100_is_one_token_with_and_without_its_space(tokenizer):
    assert [number for number in range(100) if len(tokenizer.encode(f" {number}")) > 1] == []
    assert [number for number in range(100) if tokenizer.encode(f"={number}")[1:] != [tokenizer.ranks[b"%d" % number]]] == []


def test_hugging_face_gives_the_same_ids_on_held_out_text(trained, tokenizer):
    theirs = tokenizers.Tokenizer.from_file(str(trained.out / "tokenizer.json"))
    held_out = [path.read_text(errors="replace") for path in token_stages.modules(60, 120)]
    assert len(held_out) == 60
    assert [encoding.ids for encoding in theirs.encode_batch(held_out, add_special_tokens=False)] == tokenizer.encode_batch(held_out)


@given(st.text(st.characters(codec="ascii"), max_size=200))
@settings(deadline=None)
def test_hugging_face_gives_the_same_ids_on_any_ascii(trained, text):
    tokenizer = load(trained.out)
    assert _theirs(trained.out).encode(text, add_special_tokens=False).ids == tokenizer.encode(text)


def test_hugging_face_knows_every_id_by_the_same_name(trained, tokenizer):
    theirs = tokenizers.Tokenizer.from_file(str(trained.out / "tokenizer.json"))
    assert theirs.get_vocab_size() == tokenizer.vocab_size == 1024
    for name, number in {**tokenizer.spec.special_tokens, **tokenizer.spec.unused_tokens}.items():
        assert theirs.token_to_id(name) == number


def test_a_conversation_is_chatml_without_line_ends(tokenizer):
    assert tokenizer.decode(tokenizer.encode_chat(CHAT, add_generation_prompt=False)) == chatml(CHAT)
    assert tokenizer.decode(tokenizer.encode_chat(CHAT[:2])) == (
        "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>What is 12 + 30?<|im_end|><|im_start|>assistant<|im_sep|>"
    )


def test_the_loss_falls_on_what_the_assistant_says_and_its_end(tokenizer):
    ids, mask = tokenizer.encode_conversation(CHAT)
    learnt = [number for number, weight in zip(ids, mask, strict=True) if weight]
    assert tokenizer.decode(learnt) == "Answer: 42<|im_end|>"
    assert tokenizer.encode_chat(CHAT[:2]) + learnt == ids


def test_an_unknown_role_is_an_error_that_names_it(tokenizer):
    with pytest.raises(SeedmillError, match="'tool'"):
        tokenizer.encode_chat([{"role": "tool", "content": "x"}])


def test_control_pad_and_unused_ids_are_distinct_and_fill_the_padded_vocabulary(tokenizer):
    control = list(tokenizer.spec.special_tokens.values())
    assert len({*control, *tokenizer.unused, *tokenizer.ranks.values()}) == tokenizer.vocab_size
    assert tokenizer.pad not in {tokenizer.eod, tokenizer.im_end}


def test_a_small_corpus_leaves_unused_ids_and_keeps_the_vocabulary_size():
    tokenizer = vocabulary.trained(["a few words, a few words"], 1000, 64)
    assert tokenizer.vocab_size == 1024
    assert len(tokenizer.ranks) + 5 + len(tokenizer.unused) == 1024
    assert tokenizer.decode([1023]) == f"<|dummy_{len(tokenizer.unused)}|>"


def test_training_twice_gives_the_same_files(trained, documents, tmp_path):
    again = token_stages.stage(tmp_path, "tokenizer", {"sample_bytes": 400_000}, documents)
    train.run(again)
    assert [output.digest for output in again.outputs] == [output.digest for output in trained.outputs]
    assert load(again.out).identity == load(trained.out).identity


def test_every_document_is_counted_as_sampled_or_not(trained):
    assert trained.counts.read == trained.counts.kept + trained.counts.dropped["outside the sample"] == 120 + 1 + 64


def test_the_sample_ignores_the_order_of_the_documents():
    rows = [{"id": f"{(n * 7919) % 1000:04d}", "text": f"{n:010d}"} for n in range(1000)]
    taken, read = train.smallest_ids(rows, 205)
    assert (taken, read) == train.smallest_ids(reversed(rows), 205)
    assert len(taken) == 20


def test_missing_ranks_of_cl100k_are_a_clear_error(monkeypatch):
    def offline(name):
        raise ConnectionError(name)

    monkeypatch.setattr(tiktoken, "get_encoding", offline)
    with pytest.raises(SeedmillError, match="TIKTOKEN_CACHE_DIR"):
        vocabulary.cl100k()


def test_cl100k_is_padded_as_phi_4_pads_it_whatever_its_ranks_are(monkeypatch):
    """Ranks of the true number, 256 bytes first; the true ones take a download, so the test below needs them cached."""
    tokens = chain(map(bytes, product(range(256))), map(bytes, product(range(256), repeat=2)), map(bytes, product(range(256), repeat=3)))
    ranks = {token: rank for rank, token in enumerate(islice(tokens, 100_256))}
    monkeypatch.setattr(tiktoken, "get_encoding", lambda _: SimpleNamespace(_mergeable_ranks=ranks))
    ours = vocabulary.cl100k()
    assert ours.vocab_size == 100_352
    assert (ours.eod, ours.im_start, ours.im_end, ours.im_sep, ours.pad) == (100257, 100264, 100265, 100266, 100349)
    beyond = [ours.decode([number]) for number in range(100_256, 100_352)]
    assert len(set(beyond)) == len(beyond) == 96
    assert [name for name in beyond if not name.startswith("<|dummy_")] == [
        "<|endoftext|>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|im_sep|>",
        "<|endofprompt|>",
        ours.decode([ours.pad]),
    ]
    assert ours.decode([100348, 100350, 100351]) == "<|dummy_84|><|dummy_86|><|dummy_87|>"


@pytest.mark.skipif(
    not (Path(os.environ.get("TIKTOKEN_CACHE_DIR", "absent")) / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4").exists(),
    reason="the ranks of cl100k_base are not in TIKTOKEN_CACHE_DIR",
)
def test_cl100k_is_openais_with_the_control_ids_of_phi_4():
    ours, theirs = vocabulary.cl100k(), tiktoken.get_encoding("cl100k_base")
    sources = [path.read_text(errors="replace") for path in token_stages.modules(0, 40)]
    assert ours.encode_batch(sources) == theirs.encode_ordinary_batch(sources)
    assert [e.ids for e in hugging_face_tokenizer(ours).encode_batch(sources, add_special_tokens=False)] == ours.encode_batch(sources)
    assert (ours.eod, ours.im_start, ours.im_end, ours.im_sep, ours.pad) == (100257, 100264, 100265, 100266, 100349)
    assert ours.decode([100351]) == "<|dummy_87|>"


def test_a_tokenizer_is_read_from_its_folder_and_not_from_a_cache(trained, tmp_path):
    for name in ("ranks.tiktoken", "spec.json"):
        shutil.copy(trained.out / name, tmp_path / name)
    first = load(tmp_path).identity
    (tmp_path / "ranks.tiktoken").write_bytes((tmp_path / "ranks.tiktoken").read_bytes().rsplit(b"\n", 2)[0] + b"\n")
    assert load(tmp_path).identity != first


_LOADED: dict[Path, tokenizers.Tokenizer] = {}


def _theirs(folder):
    if folder not in _LOADED:
        _LOADED[folder] = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return _LOADED[folder]
