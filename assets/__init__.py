"""The factory as a Dagster graph: thin over `factory`, which knows nothing of it."""
