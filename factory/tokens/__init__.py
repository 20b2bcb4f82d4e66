"""From clean text to what the trainer reads: the tokenizer, Megatron shards, and the mixtures over them."""
