import json
import shutil

import gguf
import numpy as np
import pytest
import release_stages
import tiktoken
import torch
from safetensors.torch import load_file, save_file

from factory.errors import SeedmillError
from factory.release.chat import JINJA
from factory.release.gguf import check
from factory.tokens.hugging_face import merges
from factory.tokens.tokenizer import load

GPT2_IN_LLAMA_CPP = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def _export(folder, exported, tokenizer_folder, **section):
    inputs = {"tokenizer": tokenizer_folder, "hugging_face_model": exported.out}
    return release_stages.stage(folder / "gguf", "factory.release.gguf:run", section, inputs).out


@pytest.fixture(scope="module")
def made(exported, tokenizer_folder, tmp_path_factory):
    return _export(tmp_path_factory.mktemp("gguf"), exported, tokenizer_folder)


@pytest.fixture(scope="module")
def reader(made):
    return gguf.GGUFReader(made / "model.gguf")


def _value(reader, key):
    return reader.fields[key].contents()


@pytest.mark.parametrize("tensor_type", ["F32", "F16"])
def test_every_weight_reads_back(exported, tokenizer_folder, tmp_path, tensor_type):
    out = _export(tmp_path, exported, tokenizer_folder, tensor_type=tensor_type)
    found = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in gguf.GGUFReader(out / "model.gguf").tensors}
    weights = load_file(exported.out / "model" / "model.safetensors")
    assert len(found) == len(weights) == 3 + 2 * 6
    pairs = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output.weight": "lm_head.weight",
        "output_norm.weight": "model.norm.weight",
        "blk.1.attn_qkv.weight": "model.layers.1.self_attn.qkv_proj.weight",
        "blk.1.attn_output.weight": "model.layers.1.self_attn.o_proj.weight",
        "blk.0.ffn_up.weight": "model.layers.0.mlp.gate_up_proj.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
        "blk.0.attn_norm.weight": "model.layers.0.input_layernorm.weight",
        "blk.0.ffn_norm.weight": "model.layers.0.post_attention_layernorm.weight",
    }
    for ours, theirs in pairs.items():
        matrix = torch.float16 if tensor_type == "F16" else torch.float32
        wanted = weights[theirs].to(matrix if weights[theirs].ndim > 1 else torch.float32)
        assert found[ours].dtype == wanted.dtype
        assert torch.equal(found[ours], wanted)


def test_the_model_has_the_sizes_of_the_checkpoint(exported, reader):
    settings = json.loads((exported.out / "model" / "config.json").read_text())
    assert _value(reader, "general.architecture") == "phi3"
    for key, name in {
        "context_length": "max_position_embeddings",
        "embedding_length": "hidden_size",
        "feed_forward_length": "intermediate_size",
        "block_count": "num_hidden_layers",
        "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads",
        "rope.freq_base": "rope_theta",
    }.items():
        assert _value(reader, f"phi3.{key}") == settings[name]
    assert _value(reader, "phi3.rope.dimension_count") == 8


def test_the_tokenizer_has_our_ids_and_merges(tokenizer_folder, reader):
    ours, names = load(tokenizer_folder), _value(reader, "tokenizer.ggml.tokens")
    types = _value(reader, "tokenizer.ggml.token_type")
    assert len(names) == len(types) == ours.vocab_size
    assert names[ours.im_end] == "<|im_end|>"
    assert names[ours.ranks[b" 42"]] == "Ġ42"
    assert [index for index, kind in enumerate(types) if kind == gguf.TokenType.UNUSED] == list(ours.unused)
    assert {index for index, kind in enumerate(types) if kind == gguf.TokenType.CONTROL} == set(ours.spec.special_tokens.values())
    assert len(_value(reader, "tokenizer.ggml.merges")) == len(list(merges(ours.ranks)))
    ends = [_value(reader, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "padding")]
    assert ends == [ours.eod, ours.im_end, ours.pad]
    assert _value(reader, "tokenizer.ggml.add_bos_token") is False


def test_the_split_pattern_of_llama_cpp_agrees_on_what_the_model_was_trained_for(tokenizer_folder, reader):
    ours = load(tokenizer_folder)
    theirs = tiktoken.Encoding("gpt-2 as in llama.cpp", pat_str=GPT2_IN_LLAMA_CPP, mergeable_ranks=ours.ranks, special_tokens={})
    assert _value(reader, "tokenizer.ggml.pre") == "gpt-2"
    for text in (release_stages.TEXT.format(a=a, b=b, c=a * b % 100) for a in range(100) for b in range(0, 100, 9)):
        assert theirs.encode_ordinary(text) == ours.encode(text)
    # The limit that the model card states: three digits may be cut elsewhere.
    assert theirs.encode_ordinary("912") != ours.encode("912")


def test_both_templates_are_the_chatml_of_training(reader, made):
    assert _value(reader, "tokenizer.chat_template") == JINJA
    lines = (made / "Modelfile").read_text().splitlines()
    turn = "<|im_start|>{{ .Role }}<|im_sep|>{{ .Content }}<|im_end|>"
    assert lines[0] == "FROM ./model.gguf"
    assert lines[1] == f'TEMPLATE """{{{{- range .Messages }}}}{turn}{{{{ end }}}}<|im_start|>assistant<|im_sep|>"""'
    assert 'PARAMETER stop "<|im_end|>"' in lines


def test_a_value_beyond_float16_is_refused_with_the_remedy(exported, tokenizer_folder, tmp_path):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(exported.out, spoilt)
    weights = load_file(spoilt / "model" / "model.safetensors")
    weights["lm_head.weight"][0, 0] = 1e6
    save_file(weights, spoilt / "model" / "model.safetensors", metadata={"format": "pt"})
    inputs = {"tokenizer": tokenizer_folder, "hugging_face_model": spoilt}
    with pytest.raises(SeedmillError, match=r"lm_head.*tensor_type to F32"):
        release_stages.stage(tmp_path / "gguf", "factory.release.gguf:run", {}, inputs)


def test_a_file_that_reads_back_differently_is_refused(made, reader):
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    check(made / "model.gguf", tensors)
    tensors["output.weight"][0, 0] += 1
    with pytest.raises(SeedmillError, match=r"other tensors.*output\.weight"):
        check(made / "model.gguf", tensors)


def test_the_same_model_gives_the_same_file(exported, tokenizer_folder, made, tmp_path):
    again = _export(tmp_path, exported, tokenizer_folder)
    assert (again / "model.gguf").read_bytes() == (made / "model.gguf").read_bytes()


def test_writing_the_file_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, factory.release.gguf; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
