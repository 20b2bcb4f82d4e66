"""Seedmill's library: everything the factory does, without an orchestrator.

Folders read in the order that data flows: curation, synthesis, tokens, training, sampling, preference, evaluation,
release. `recipe` describes an experiment, `store` keeps what it makes, `lineage` answers questions about it.
Nothing below this package imports Dagster, and nothing outside of a job imports torch.
"""
