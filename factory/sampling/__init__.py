"""Batched generation: prompts in as token ids, completions out as token ids with log-probabilities."""
