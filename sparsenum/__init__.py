"""Sparse numerics: entropic optimal transport, sparse matrices, topologies and layers."""

from importlib.metadata import version

from sparsenum import nn, ot, sparse, topology
from sparsenum.errors import ConvergenceWarning, DeviceError

__version__ = version("sparsenum")

__all__ = ["ConvergenceWarning", "DeviceError", "__version__", "nn", "ot", "sparse", "topology"]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
