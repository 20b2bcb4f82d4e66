"""Preference data: pivotal tokens, judged answers, refusals, and the rejection-sampling control."""
