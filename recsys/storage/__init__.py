"""Model files, and the bytes that weights take in them."""

from recsys.storage.budget import parse_budget

__all__ = [
    "parse_budget",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
