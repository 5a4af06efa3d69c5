"""Pairs of points as a support without costs: a sparsity pattern alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.clouds import _cpu
from sparsenum.ot.problems.clouds.tree import Points
from sparsenum.ot.problems.dense import Vector
from sparsenum.sparse import CSR


@dataclass(frozen=True, slots=True)
class Pairs:
    """A sparsity pattern between two clouds: a third of the memory of a support with costs.

    Attributes
    ----------
    X : ndarray, shape (n, d)
        Points of the rows.
    Y : ndarray, shape (d, m)
        Points of the columns, one coordinate after the other.
    squared : bool
        Whether the cost is the squared Euclidean distance, or else the 1-norm.
    indptr, indices : ndarray
        Columns of each row, ascending, as in `CSR`.
    """

    X: Points
    Y: Points
    squared: bool
    indptr: NDArray[np.uint64]
    indices: NDArray[np.unsignedinteger[Any]]

    @property
    def nnz(self) -> int:
        """Number of pairs."""
        return self.indices.size

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return len(self.X), self.Y.shape[1]

    @property
    def row_counts(self) -> NDArray[np.int64]:
        """Number of pairs of each row, shape (n,)."""
        starts = self.indptr.view(np.int64)
        return starts[1:] - starts[:-1]

    def costs(self, out: Vector) -> CSR:
        """Return the pairs with their costs, written to `out`."""
        x = self.X, self.Y, self.squared
        _cpu.pair_costs(*x, self.indptr, self.indices, out)
        return CSR(self.indptr, self.indices, out, self.shape)

    def narrow(self, f: Vector, g: Vector, width: float) -> "Pairs":
        """Return the pairs with cost - f - g < width; the same object if all remain."""
        x = self.X, self.Y, f, g, self.squared, width, self.indptr, self.indices
        indptr = np.zeros_like(self.indptr)
        _cpu.count_closer(*x, indptr)
        np.cumsum(indptr, out=indptr)
        if indptr[-1] == self.nnz:
            return self
        indices = np.empty(int(indptr[-1]) + 1, self.indices.dtype)
        _cpu.fill_closer(*x, indptr, indices)
        return Pairs(self.X, self.Y, self.squared, indptr, indices[:-1])
