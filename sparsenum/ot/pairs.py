"""The problem restricted to pairs of points: a support that holds no costs, only who meets whom."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot import _cpu, _cpu_points
from sparsenum.ot.problem import Iterate, Vector
from sparsenum.ot.tree import Points
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
        _cpu_points.pair_costs(*x, self.indptr, self.indices, out)
        return CSR(self.indptr, self.indices, out, self.shape)

    def narrow(self, f: Vector, g: Vector, width: float) -> "Pairs":
        """Return the pairs with cost - f - g < width; itself, where that is all."""
        x = self.X, self.Y, f, g, self.squared, width, self.indptr, self.indices
        indptr = np.zeros_like(self.indptr)
        _cpu_points.count_closer(*x, indptr)
        np.cumsum(indptr, out=indptr)
        if indptr[-1] == self.nnz:
            return self
        indices = np.empty(int(indptr[-1]) + 1, self.indices.dtype)
        _cpu_points.fill_closer(*x, indptr, indices)
        return Pairs(self.X, self.Y, self.squared, indptr, indices[:-1])

    def restricted(self, a: Vector, b: Vector, reg: float) -> "RestrictedPairs":
        """Return the problem on these pairs."""
        return RestrictedPairs(self, a, b, reg)


@dataclass(slots=True)
class RestrictedPairs:
    """What `Restricted` is, in one array of entries: costs are written where the plan will be."""

    pairs: Pairs
    a: Vector
    b: Vector
    reg: float
    _entries: Vector = field(init=False, repr=False)
    _of: Vector | None = field(init=False, repr=False, default=None)  # whose entries these are

    def __post_init__(self) -> None:
        self._entries = np.empty(self.pairs.nnz)

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g: one pass over the pairs. The entries of others are lost."""
        f, column_sums = np.empty_like(self.a), np.empty_like(self.b)
        P = self._entries
        s = self.pairs.costs(P)
        _cpu.support_row_update(s.indptr, s.indices, P, self.a, g, self.reg, f, P, column_sums)
        self._of = g
        return Iterate(f, g, column_sums, float(np.abs(column_sums - self.b).sum()))

    def hessian(self, at: Iterate, drop: float) -> CSR:
        """Return P / sqrt(a) without entries below the share `drop` of row or column.

        It takes the place of the entries: whoever steps on from here needs others anyway.
        """
        if self._of is not at.g:  # overwritten by a step that was refused
            self.iterate(at.g)
        s, c, P = self.pairs, at.column_sums, self._entries
        self._of = None
        indptr = np.zeros_like(s.indptr)
        _cpu.count_strong(s.indptr, s.indices, P, self.a, c, drop, indptr)
        np.cumsum(indptr, out=indptr)
        indices = np.empty(int(indptr[-1]) + 1, s.indices.dtype)
        _cpu_points.keep_strong(s.indptr, s.indices, P, self.a, c, drop, indptr, indices)
        return CSR(indptr, indices[:-1], P[: indices.size - 1], s.shape)
