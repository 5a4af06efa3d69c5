"""The canonical problem that the algorithms see: float64, positive masses that sum to one."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot import _cpu
from sparsenum.sparse import CSR

Vector = NDArray[np.float64]


class Iterate(NamedTuple):
    """Potentials whose plan has exact rows, and how far its columns are off.

    Attributes
    ----------
    f, g : ndarray
        Potentials in cost units.
    column_sums : ndarray
        Column sums of the plan; its rows sum to a.
    error : float
        1-norm of column_sums - b.
    """

    f: Vector
    g: Vector
    column_sums: Vector
    error: float


@dataclass(frozen=True, slots=True)
class Problem:
    """Find P = exp((f + g - M) / reg) with row sums a and column sums b."""

    M: NDArray[np.float64]
    a: Vector
    b: Vector
    reg: float

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g: one fused pass over M."""
        f, column_sums = np.empty_like(self.a), np.empty_like(self.b)
        _cpu.row_update(self.M, self.a, g, self.reg, f, column_sums)
        return Iterate(f, g, column_sums, float(np.abs(column_sums - self.b).sum()))

    def sinkhorn_sweep(self, at: Iterate) -> Iterate:
        """Correct the columns, then the rows: one Sinkhorn iteration in potentials."""
        if at.column_sums.min() > UNDERFLOW:
            return self.iterate(at.g + self.reg * np.log(self.b / at.column_sums))
        g = np.empty_like(at.g)
        _cpu.column_update(self.M, self.b, at.f, self.reg, g)
        return self.iterate(g)

    def dual(self, at: Iterate) -> float:
        """Return the dual objective at exact rows, up to a constant: a.f + b.g."""
        return float(self.a @ at.f + self.b @ at.g)

    def marginals(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Return the row and column sums of the plan, computed afresh."""
        rows, columns = np.empty_like(self.a), np.empty_like(self.b)
        _cpu.plan_sums(self.M, f, g, self.reg, rows, columns)
        return rows, columns

    def plan(self, f: Vector, g: Vector) -> NDArray[np.float64]:
        """Return the dense plan, shape (n, m)."""
        P = np.empty_like(self.M)
        _cpu.plan(self.M, f, g, self.reg, P)
        return P

    def sparse_plan(
        self, f: Vector, g: Vector, row_floor: Vector | float, column_floor: Vector | float
    ) -> CSR:
        """Return the entries of the plan above row_floor[i] or above column_floor[j]."""
        n, m = self.M.shape
        row_slack = -self.reg * np.log(np.broadcast_to(row_floor, n))
        column_slack = -self.reg * np.log(np.broadcast_to(column_floor, m))
        indptr = np.zeros(n + 1, np.uint64)
        _cpu.count_plan(self.M, f, g, row_slack, column_slack, indptr)
        np.cumsum(indptr, out=indptr)
        indices = np.empty(int(indptr[-1]), np.uint32)
        data = np.empty(indices.size)
        _cpu.fill_plan(self.M, f, g, self.reg, row_slack, column_slack, indptr, indices, data)
        return CSR(indptr, indices, data, (n, m))


UNDERFLOW = 1e-250  # column sums below this have lost their digits
