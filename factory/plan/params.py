"""Parameters of a model, and of the rank that holds most of them."""

from factory.tokens.config import TokenizerConfig
from factory.training.architecture import LayoutConfig, ModelConfig

CL100K_PADDED = 100_352


def vocabulary(tokenizer: TokenizerConfig) -> int:
    """Ids of the padded vocabulary: that of cl100k_base as Phi-4 pads it, or the trained one rounded up."""
    if tokenizer.kind == "cl100k_base":
        return CL100K_PADDED
    return -(-tokenizer.vocab_size // tokenizer.padded_multiple) * tokenizer.padded_multiple


def linear(model: ModelConfig) -> int:
    """Weights of one block's matrices: query and output, key and value, and the three of SwiGLU."""
    hidden, kv = model.hidden_size, model.kv_heads * model.head_size
    return 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * model.ffn_hidden_size


def norms(model: ModelConfig) -> int:
    """Weights of one block's two RMSNorms."""
    return 2 * model.hidden_size


def total(model: ModelConfig, vocab_size: int) -> int:
    """All parameters: blocks, last norm, embedding and untied head."""
    return model.layers * (linear(model) + norms(model)) + model.hidden_size + 2 * vocab_size * model.hidden_size


def on_rank(model: ModelConfig, vocab_size: int, layout: LayoutConfig, stage: int) -> int:
    """Parameters of a rank of pipeline stage `stage`: matrices are split among tensor ranks, norms are not."""
    blocks = model.layers // layout.pipeline * (linear(model) // layout.tensor + norms(model))
    table = vocab_size * model.hidden_size // layout.tensor
    first, last = stage == 0, stage == layout.pipeline - 1
    return blocks + first * table + last * (table + model.hidden_size)
