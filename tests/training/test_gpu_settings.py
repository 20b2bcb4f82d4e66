"""What Megatron would be told on a GPU: read off its own configuration, which takes the settings without one."""

import pytest
import torch.nn.functional as F  # noqa: N812
from training_worlds import MODEL

from factory.training import model
from factory.training.architecture import ModelConfig
from factory.training.config import PretrainConfig


@pytest.fixture
def configured(monkeypatch):
    """Megatron's configuration for a section, as on a GPU."""
    monkeypatch.setattr(model, "HAS_GPU", True)
    # Megatron asks whether Transformer Engine's is there
    monkeypatch.setattr("megatron.core.models.common.embeddings.rope_utils.fused_apply_rotary_pos_emb", lambda *_: None)
    shape = ModelConfig.model_validate(MODEL)
    return lambda **fields: model.transformer_config(shape, PretrainConfig.model_validate({"model": shape, **fields}))


def test_on_a_gpu_transformer_engines_fusions_are_on_and_weights_are_made_there(configured):
    config = configured()
    fused = ("bias_dropout_fusion", "bias_activation_fusion", "masked_softmax_fusion", "apply_rope_fusion", "cross_entropy_loss_fusion")
    assert all(getattr(config, name) for name in fused)
    assert config.batch_p2p_comm
    assert not config.use_cpu_initialization
    assert config.activation_func is F.silu
    assert config.fp8 is None


@pytest.mark.parametrize(
    ("recipe", "kind", "history"), [("delayed", "hybrid", (1024, "max")), ("tensorwise", "hybrid", None), ("blockwise", "e4m3", None)]
)
def test_an_fp8_recipe_reaches_megatron(configured, recipe, kind, history):
    config = configured(fp8=recipe)
    assert (config.fp8, config.fp8_recipe) == (kind, recipe)
    assert history in {None, (config.fp8_amax_history_len, config.fp8_amax_compute_algo)}
    assert config.bf16


def test_without_a_gpu_nothing_is_fused_that_waits_for_one():
    config = model.transformer_config(ModelConfig.model_validate(MODEL), PretrainConfig())
    assert not any((config.apply_rope_fusion, config.bias_activation_fusion, config.batch_p2p_comm))
    assert config.use_cpu_initialization
