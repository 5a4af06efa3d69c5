"""Sparse numerics: entropic optimal transport, a sparse-matrix core, and sparse topologies."""

from importlib.metadata import version

from sparsenum import ot, sparse, topology
from sparsenum.errors import ConvergenceWarning, DeviceError

__version__ = version("sparsenum")

__all__ = ["ConvergenceWarning", "DeviceError", "__version__", "ot", "sparse", "topology"]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
