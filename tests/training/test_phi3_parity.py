"""What is exported is what was trained: Transformers computes the same logits from the exported folder."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_worlds import VOCABULARY
from transformers import AutoModelForCausalLM

from factory.training import checkpoint, convert, model
from factory.training.architecture import LayoutConfig
from factory.training.config import PretrainConfig
from factory.training.distributed import joined


@pytest.fixture
def exported(trained):
    return Path(trained.inputs["pretrained_checkpoint"].path)


def test_transformers_computes_the_logits_of_megatron(exported):
    shape = convert.shape_of(json.loads((exported / "hf" / "config.json").read_text()))
    tokens = torch.randint(0, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(0))
    with joined(LayoutConfig(), seed=3):
        gpt = model.build(shape, PretrainConfig(precision="fp32"), VOCABULARY)
        checkpoint.load_weights(exported / "mcore", gpt)
        ours = model.unwrap(gpt).eval()(tokens, torch.arange(24).expand(2, 24), None)
        theirs = AutoModelForCausalLM.from_pretrained(exported / "hf", dtype=torch.float32).eval()(tokens).logits
    assert ours.abs().max() > 0.5
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)


def test_weights_survive_the_way_to_hugging_face_and_back(exported):
    shape = convert.shape_of(json.loads((exported / "hf" / "config.json").read_text()))
    theirs = load_file(exported / "hf" / "model.safetensors")
    with joined(LayoutConfig(), seed=4):
        gpt = model.unwrap(model.build(shape, PretrainConfig(precision="fp32"), VOCABULARY))
        gpt.load_state_dict(convert.from_hugging_face(theirs, shape, gpt.state_dict()))
        trained = model.build(shape, PretrainConfig(precision="fp32"), VOCABULARY)
        checkpoint.load_weights(exported / "mcore", trained)
        expected = dict(model.unwrap(trained).named_parameters())
    for name, parameter in gpt.named_parameters():
        assert torch.equal(parameter, expected[name]), name
