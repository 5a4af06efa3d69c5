"""Recommenders trained from a table under a fixed parameter budget."""
