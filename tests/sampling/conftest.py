import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM


@pytest.fixture(scope="session")
def reference() -> Phi3ForCausalLM:
    """A small random model in Hugging Face's own implementation."""
    torch.manual_seed(5)
    config = Phi3Config(
        vocab_size=96,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        sliding_window=None,
    )
    model = Phi3ForCausalLM(config).eval()
    for name, weights in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weights, 0.5, 1.5)
    return model


@pytest.fixture(scope="session")
def hf_folder(reference, tmp_path_factory):
    """The random model on disk, as every checkpoint artefact holds one."""
    folder = tmp_path_factory.mktemp("hf")
    reference.save_pretrained(folder)
    return folder
