"""The canonical problem that the algorithms see: positive masses that sum to one."""

from __future__ import annotations  # else each call would evaluate those of its inner functions

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsenum._formulas import column_update_v1
from sparsenum._threads import by_rows
from sparsenum.ot.problems import _cpu, _cpu_support
from sparsenum.sparse import CSR
from sparsenum.sparse.formats import index_type

Vector = NDArray[np.float64]
Matrix = NDArray[np.float32] | NDArray[np.float64]  # a cost as the caller holds it


class Iterate(NamedTuple):
    """Potentials whose plan has exact row sums, and the error of its column sums.

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

    @property
    def least(self) -> float:
        """Least of the column sums."""
        return float(self.column_sums.min())


class Masses(Protocol):
    """Masses and reg, which all problems have, in whatever form their cost comes."""

    @property
    def a(self) -> Vector:
        """Row masses, positive, of sum one."""

    @property
    def b(self) -> Vector:
        """Column masses, positive, of sum one."""

    @property
    def reg(self) -> float:
        """Strength of the entropy."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Find P = exp((f + g - M) / reg) with row sums a and column sums b.

    Costs in float32 are widened one by one where they are read: results are those of float64.
    """

    M: Matrix
    a: Vector
    b: Vector
    reg: float
    n_threads: int = 1

    def at(self, reg: float) -> Problem:
        """Return the same problem at another reg."""
        return Problem(self.M, self.a, self.b, reg, self.n_threads)

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g: one fused pass over M."""
        f = np.empty_like(self.a)

        def update(rows: slice, sums: Vector) -> None:
            _cpu.row_update(self.M[rows], self.a[rows], g, self.reg, f[rows], sums)

        column_sums = self.summed(update)
        return Iterate(f, g, column_sums, float(np.abs(column_sums - self.b).sum()))

    def summed(
        self, work: Callable[[slice, NDArray[Any]], None], dtype: Any = np.float64
    ) -> NDArray[Any]:
        """Let `work` write the column sums of each block of rows, and add them up in order."""

        def block(rows: slice) -> NDArray[Any]:
            sums = np.empty(self.b.size, dtype)
            work(rows, sums)
            return sums

        first, *others = by_rows(block, self.M.shape, self.n_threads)
        for sums in others:
            first += sums
        return first

    def sinkhorn_sweep(self, at: Iterate) -> Iterate:
        """Correct the columns, then the rows: one Sinkhorn iteration in potentials."""
        if at.column_sums.min() > UNDERFLOW:
            return self.iterate(at.g + self.reg * np.log(self.b / at.column_sums))
        g = np.empty_like(at.g)
        column_update_v1(self.M, self.b, at.f, self.reg, g)
        return self.iterate(g)

    def row_costs(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some rows of M, in float64."""
        return self.M[rows].astype(np.float64, copy=False)

    def column_costs(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some columns of M, in float64."""
        return self.M[:, columns].astype(np.float64, copy=False)

    def within(self, f: Vector, g: Vector, width: float) -> CSR:
        """Return the costs of the entries with M - f - g < width."""
        row_slack, column_slack = np.full(f.size, width), np.full(g.size, -np.inf)
        return gather(self.M, f, g, row_slack, column_slack, self.n_threads)

    def marginals(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Return the row and column sums of the plan, computed afresh."""
        row_sums = np.empty_like(self.a)

        def add_up(rows: slice, sums: Vector) -> None:
            _cpu.plan_sums(self.M[rows], f[rows], g, self.reg, row_sums[rows], sums)

        return row_sums, self.summed(add_up)

    def plan(self, f: Vector, g: Vector, out: Matrix | None = None) -> Matrix:
        """Return the dense plan, shape (n, m), in `out` or else in the precision of the cost."""
        P = np.empty_like(self.M) if out is None else out

        def write(rows: slice) -> None:
            _cpu.plan(self.M[rows], f[rows], g, self.reg, P[rows])

        by_rows(write, P.shape, self.n_threads)
        return P

    def sparse_plan(
        self, f: Vector, g: Vector, row_floor: Vector | float, column_floor: Vector | float
    ) -> CSR:
        """Return the entries of the plan above row_floor[i] or above column_floor[j]."""
        row_slack = -self.reg * np.log(np.broadcast_to(row_floor, f.size))
        column_slack = -self.reg * np.log(np.broadcast_to(column_floor, g.size))
        support = gather(self.M, f, g, row_slack, column_slack, self.n_threads)
        P = np.empty(support.nnz)
        _cpu_support.support_plan(*support.arrays, f, g, self.reg, P)
        return support.with_data(P)

    def hessian(self, at: Iterate, drop: float) -> CSR | NDArray[np.float32]:
        """Return P / sqrt(a) without entries below the share `drop` of both row and column.

        Where little would be dropped the result is a dense matrix in float32: half the memory,
        and products at the speed of BLAS.
        """
        a, c = self.a, at.column_sums
        if self.density(at, drop) < DENSE_ABOVE:
            P = self.sparse_plan(at.f, at.g, drop * a, drop * np.maximum(c, UNDERFLOW))
            return P.with_data(P.data / np.sqrt(np.repeat(a, P.row_counts)))
        Q = np.empty(self.M.shape, np.float32)

        def write(rows: slice) -> None:
            _cpu.scaled_plan(self.M[rows], a[rows], at.f[rows], at.g, self.reg, Q[rows])

        by_rows(write, self.M.shape, self.n_threads)
        return Q

    def density(self, at: Iterate, drop: float) -> float:
        """Estimate from a few rows which share of the entries `hessian` would keep."""
        rows = np.linspace(0, self.a.size - 1, min(self.a.size, SAMPLE)).astype(np.int64)
        slack = self.M[rows] - at.f[rows, None] - at.g
        least = np.minimum(self.a[rows, None], np.maximum(at.column_sums, UNDERFLOW))
        return float(np.mean(slack < -self.reg * np.log(drop * least)))


def gather(
    M: Matrix,
    f: Vector,
    g: Vector,
    row_slack: Vector,
    column_slack: Vector,
    n_threads: int = 1,
) -> CSR:
    """Return the costs of the entries with M - f - g below their row's or their column's slack."""
    n, m = M.shape
    indptr = np.zeros(n + 1, np.uint64)

    def count(rows: slice) -> None:
        counts = indptr[rows.start : rows.stop + 1]
        _cpu.count_slack(M[rows], f[rows], g, row_slack[rows], column_slack, counts)

    def fill(rows: slice) -> None:
        starts = indptr[rows.start : rows.stop + 1]
        slack = row_slack[rows], column_slack
        _cpu.fill_cost(M[rows], f[rows], g, *slack, starts, indices, cost)

    by_rows(count, (n, m), n_threads)
    np.cumsum(indptr, out=indptr)
    indices = np.empty(int(indptr[-1]), index_type(m))
    cost = np.empty(indices.size)
    by_rows(fill, (n, m), n_threads)
    return CSR(indptr, indices, cost, (n, m))


UNDERFLOW = 1e-250  # column sums below this have lost their digits
DENSE_ABOVE = 0.25  # share of kept entries from which a dense Hessian is cheaper
SAMPLE = 48  # rows on which densities are estimated
