"""Questions about what was made: from what, by which code, at what cost, and what depends on it."""
