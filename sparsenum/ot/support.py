"""The problem restricted to a support: the pairs of rows and columns that can carry mass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot import _cpu
from sparsenum.ot.problem import Iterate, Vector
from sparsenum.sparse import CSR


@dataclass(frozen=True, slots=True)
class Restricted:
    """Find P = exp((f + g - M) / reg) on a support, with row sums a and column sums b.

    Attributes
    ----------
    support : CSR
        The costs that count; no row and no column is empty.
    """

    support: CSR
    a: Vector
    b: Vector
    reg: float

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g: one pass over the support."""
        f, column_sums = np.empty_like(self.a), np.empty_like(self.b)
        P = np.empty(self.support.nnz)
        s = self.support
        _cpu.support_row_update(s.indptr, s.indices, s.data, self.a, g, self.reg, f, P, column_sums)
        return Iterate(f, g, column_sums, float(np.abs(column_sums - self.b).sum()), P)

    def hessian(self, at: Iterate, drop: float) -> CSR:
        """Return P / sqrt(a) without entries below the share `drop` of row or column."""
        s, c = self.support, at.column_sums
        indptr = np.zeros_like(s.indptr)
        _cpu.count_strong(s.indptr, s.indices, at.entries, self.a, c, drop, indptr)
        np.cumsum(indptr, out=indptr)
        indices = np.empty(int(indptr[-1]) + 1, np.uint32)
        data = np.empty(indices.size)
        _cpu.fill_strong(s.indptr, s.indices, at.entries, self.a, c, drop, indptr, indices, data)
        return CSR(indptr, indices[:-1], data[:-1], s.shape)


def narrow(support: CSR, f: Vector, g: Vector, width: float) -> CSR:
    """Return the entries of a support with M - f - g < width; itself, where that is all."""
    indptr = np.zeros_like(support.indptr)
    _cpu.count_narrow(support.indptr, support.indices, support.data, f, g, width, indptr)
    np.cumsum(indptr, out=indptr)
    if indptr[-1] == support.nnz:
        return support
    indices = np.empty(int(indptr[-1]) + 1, np.uint32)
    cost = np.empty(indices.size)
    _cpu.fill_narrow(
        support.indptr, support.indices, support.data, f, g, width, indptr, indices, cost
    )
    return CSR(indptr, indices[:-1], cost[:-1], support.shape)


def is_full(support: CSR) -> bool:
    """Return whether no row and no column is empty."""
    return bool(support.row_counts.min() > 0 and bare_columns(support).size == 0)


def bare_columns(support: CSR) -> NDArray[np.int64]:
    """Return the columns without an entry."""
    taken = np.zeros(support.shape[1], np.bool_)
    _cpu.mark_columns(support.indices, taken)
    return np.flatnonzero(~taken)
