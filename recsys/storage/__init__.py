"""Model files, and the bytes that weights take in them."""

from recsys.storage.budget import parse_budget

__all__ = [
    "parse_budget",
]
