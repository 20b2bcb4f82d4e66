"""Measurement: tasks with known answers, long documents, safety, and the gate that a checkpoint must pass."""
