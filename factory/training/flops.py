"""Model FLOPs by the usual count, so that rates compare with what others publish."""

from factory.training.architecture import ModelConfig


def per_token(model: ModelConfig, vocab_size: int, sequence_length: int) -> float:
    """Model FLOPs of one training token: 6 for each matrix weight (forward 2, backward 4), and causal attention.

    Attention's two products take 2 x 2 x (length / 2) x hidden_size forward in each layer, the causal half; backward is twice
    that. The embedding look-up is free, the head is not (Narayanan et al. 2021, without recomputation).
    """
    hidden, kv = model.hidden_size, model.kv_heads * model.head_size
    block = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * model.ffn_hidden_size
    attention = 6 * model.layers * sequence_length * hidden
    return 6.0 * (model.layers * block + hidden * vocab_size) + attention
