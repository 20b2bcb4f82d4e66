"""Synthetic data: problems with known answers, the teacher and its cache, and the workflows that make training text."""
