"""A Hugging Face checkpoint becomes an artefact that training goes on from: same logits, and refused where it would not fit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_worlds import MODEL, SHORT, VOCABULARY, losses_of, run_here
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

from factory.errors import SeedmillError
from factory.training import convert, import_source, model
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.blend import BlendRows
from factory.training.config import ImportConfig, PretrainConfig
from factory.training.distributed import joined
from factory.training.megatron import get_gpt_layer_local_spec

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
FROM_IMPORTED = {"steps": 3, "precision": "fp32", "start_from": "imported_checkpoint", **SHORT}
MODELS = {"phi3": (Phi3Config, Phi3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}


def save(folder, kind="phi3", **fields):
    torch.manual_seed(5)
    config, kind_of_model = MODELS[kind]
    made = kind_of_model(config(**SHAPE | fields))
    with torch.no_grad():
        for norm in (p for p in made.parameters() if p.dim() == 1):
            norm.uniform_(0.3, 3.0)  # as in a trained model: what drops them is found
    made.save_pretrained(folder)
    return made.eval()


def imported_into(world, folder):
    spec = world.spec("imported_checkpoint", "imported", {"folder": str(folder), "license": "MIT"})
    result = run_here(spec)
    world.adopt("imported_checkpoint", Path(spec.folder), result)
    return Path(spec.folder) / "out"


@pytest.fixture
def batches(monkeypatch):
    """The micro-batches that the trainer was given, in order."""
    real, given = BlendRows.batch, []

    def batch(self, indices):
        given.append(real(self, indices))
        return given[-1]

    monkeypatch.setattr(BlendRows, "batch", batch)
    return given


def loss_of_first_step(theirs, batches):
    """Hugging Face's loss over the first global batch."""
    first = batches[: SHORT["global_batch"] // SHORT["micro_batch"]]
    tokens, labels = (torch.cat([b[name] for b in first]) for name in ("tokens", "labels"))
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(theirs(tokens).logits.flatten(0, 1), labels.flatten()))


@pytest.mark.parametrize(("kind", "tied"), [("phi3", False), ("llama", False), ("llama", True)])
def test_training_starts_from_the_imported_weights(world, tmp_path, batches, kind, tied):
    theirs = save(tmp_path / "theirs", kind, tie_word_embeddings=tied)
    out = imported_into(world, tmp_path / "theirs")
    tokens = torch.arange(8, 40)[None]
    ours = AutoModelForCausalLM.from_pretrained(out / "hf").eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    shape = MODEL | {"norm_epsilon": theirs.config.rms_norm_eps}
    section = FROM_IMPORTED | {"model": shape}
    started = world.spec("pretrained_checkpoint", "pretrain", section, "started")
    run_here(started)
    assert losses_of(started)[0] == pytest.approx(loss_of_first_step(theirs, batches), abs=1e-5)
    with pytest.raises(SeedmillError, match="another shape than the recipe's model"):
        run_here(world.spec("pretrained_checkpoint", "pretrain", section | {"model": shape | {"layers": 4}}, "other"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 80}, "has 80 token ids but the tokenizer 64"),
        ({"attention_bias": True}, "attention_bias is True, and the trainer's model has False"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(world, tmp_path, fields, message):
    save(tmp_path / "theirs", "llama", **fields)
    with pytest.raises(SeedmillError, match=message):
        imported_into(world, tmp_path / "theirs")


def without(name):
    def change(folder):
        state = load_file(folder / "model.safetensors")
        del state[name]
        save_file(state, folder / "model.safetensors")

    return change


def with_another_width(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"intermediate_size": 48', '"intermediate_size": 64'))


def with_a_bias(folder):
    state = load_file(folder / "model.safetensors")
    save_file(state | {"model.layers.1.mlp.down_proj.bias": torch.ones(32)}, folder / "model.safetensors")


def cut(name):
    def change(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model.layers.1.input_layernorm.weight"), r"has no model\.layers\.1\.input_layernorm\.weight: it is not whole"),
        (without("model.layers.0.self_attn.k_proj.weight"), r"has no model\.layers\.0\.self_attn\.qkv_proj\.weight"),
        (without("lm_head.weight"), r"has no lm_head\.weight"),
        (with_a_bias, r"tensors that the trainer's model does not: model\.layers\.1\.mlp\.down_proj\.bias"),
        (with_another_width, r"gate_up_proj\.weight has the shape \[96, 32\] where config\.json asks for \[128, 32\]"),
        (cut("config.json"), "cannot be read .*JSONDecodeError.*: fetch the checkpoint again"),
        (cut("model.safetensors"), "cannot be read .*SafetensorError.*: fetch the checkpoint again"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(world, tmp_path, change, message):
    save(tmp_path / "theirs", "llama")
    change(tmp_path / "theirs")
    with pytest.raises(SeedmillError, match=message):
        imported_into(world, tmp_path / "theirs")


def test_the_norms_go_where_transformer_engine_keeps_them(tmp_path):
    """Without a GPU its layers cannot be built: a stand-in has their names, as Megatron's local layers store them in checkpoints."""
    state, shape = save(tmp_path / "theirs").state_dict(), ModelConfig.model_validate(MODEL)
    with joined(LayoutConfig(), seed=3):
        local = model.unwrap(model.build(shape, PretrainConfig(precision="fp32"), VOCABULARY)).state_dict()
    renamed = get_gpt_layer_local_spec(normalization="RMSNorm").submodules.sharded_state_dict_keys_map
    assert len(renamed) == 2
    own = {"decoder.layers.0.self_attention.linear_qkv._extra_state": None}
    for name, value in local.items():
        place, _, rest = name.partition("layers.")
        number, _, rest = rest.partition(".")
        prefix = next((p for p in renamed if rest.startswith(p)), "")
        own[f"{place}layers.{number}.{renamed[prefix]}{rest.removeprefix(prefix)}" if prefix else name] = value
    found = convert.from_hugging_face(state, shape, own)
    assert set(found) == {name for name in own if not name.endswith("_extra_state")}
    for layer in range(2):
        theirs = f"model.layers.{layer}."
        qkv, fc1 = (f"decoder.layers.{layer}.{name}.layer_norm_weight" for name in ("self_attention.linear_qkv", "mlp.linear_fc1"))
        assert torch.equal(found[qkv], state[theirs + "input_layernorm.weight"])
        assert torch.equal(found[fc1], state[theirs + "post_attention_layernorm.weight"])
        assert not torch.equal(found[qkv], torch.ones(32))


def test_a_sliding_window_is_kept_and_longer_rows_are_refused(world, tmp_path, batches):
    theirs = save(tmp_path / "theirs", sliding_window=32)
    out = imported_into(world, tmp_path / "theirs")
    tokens = torch.arange(8, 56)[None]
    ours = AutoModelForCausalLM.from_pretrained(out / "hf").eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    section = FROM_IMPORTED | {"model": MODEL}
    spec = world.spec("pretrained_checkpoint", "pretrain", section, "as long as the window")
    run_here(spec)
    assert losses_of(spec)[0] == pytest.approx(loss_of_first_step(theirs, batches), abs=1e-5)
    settings = json.loads((Path(spec.folder) / "out" / "hf" / "config.json").read_text())
    assert (settings["sliding_window"], settings["max_position_embeddings"]) == (None, 32)
    with pytest.raises(SeedmillError, match=r"a sliding window of 32 tokens, which .* set sequence_length 40 to at most 32"):
        run_here(world.spec("pretrained_checkpoint", "pretrain", section | {"sequence_length": 40}, "longer"))


def test_a_folder_without_a_model_is_named(world, tmp_path):
    with pytest.raises(SeedmillError, match=r"holds no config\.json with \*\.safetensors"):
        imported_into(world, tmp_path)


def test_the_version_is_that_of_the_files(tmp_path):
    save(tmp_path / "theirs")
    section = ImportConfig(folder=str(tmp_path / "theirs"), license="MIT")
    before = import_source.observe(section)
    assert import_source.observe(section) == before
    with (tmp_path / "theirs" / "config.json").open("a") as stream:
        stream.write(" ")
    assert import_source.observe(section) != before
