"""The one Megatron-core trainer: pretraining, midtraining, supervised fine-tuning and preference optimisation."""
