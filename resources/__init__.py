"""The doors between Dagster and the factory."""
