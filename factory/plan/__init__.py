"""What a recipe will take before anything is launched: memory, time, money and space, by arithmetic alone."""
