"""Layers whose weights are sparse throughout training."""

from sparsenum.nn.linear import SparseLinear

__all__ = ["SparseLinear"]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
