"""A Hugging Face checkpoint becomes an artefact that training goes on from: same logits, and refused where it would not fit."""

from pathlib import Path

import pytest
import torch
from training_worlds import SHORT, VOCABULARY, losses_of, run_here
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

from factory.errors import SeedmillError
from factory.training import import_source
from factory.training.config import ImportConfig

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
MODELS = {"phi3": (Phi3Config, Phi3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}


def save(folder, kind="phi3", **fields):
    torch.manual_seed(5)
    config, model = MODELS[kind]
    made = model(config(**SHAPE | fields))
    made.save_pretrained(folder)
    return made.eval()


def imported_into(world, folder):
    spec = world.spec("imported_checkpoint", "imported", {"folder": str(folder), "license": "MIT"})
    result = run_here(spec)
    world.adopt("imported_checkpoint", Path(spec.folder), result)
    return Path(spec.folder) / "out"


@pytest.mark.parametrize(("kind", "tied"), [("phi3", False), ("llama", False), ("llama", True)])
def test_training_starts_from_the_imported_weights(world, tmp_path, kind, tied):
    theirs = save(tmp_path / "theirs", kind, tie_word_embeddings=tied)
    out = imported_into(world, tmp_path / "theirs")
    tokens = torch.arange(8, 40)[None]
    ours = AutoModelForCausalLM.from_pretrained(out / "hf").eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    model = {"layers": 2, "hidden_size": 32, "ffn_hidden_size": 48, "attention_heads": 4, "kv_heads": 2}
    model["norm_epsilon"] = theirs.config.rms_norm_eps
    section = {"model": model, "steps": 3, "precision": "fp32", "start_from": "imported_checkpoint", **SHORT}
    started = world.spec("pretrained_checkpoint", "pretrain", section, "started")
    fresh = world.spec("pretrained_checkpoint", "pretrain", section | {"start_from": None}, "fresh")
    run_here(started)
    run_here(fresh)
    assert losses_of(started)[0] != losses_of(fresh)[0]
    with pytest.raises(SeedmillError, match="another shape than the recipe's model"):
        run_here(world.spec("pretrained_checkpoint", "pretrain", section | {"model": model | {"layers": 4}}, "other"))


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
