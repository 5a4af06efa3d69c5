"""Scores of items for users, and the best of them."""
