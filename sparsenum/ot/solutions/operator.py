"""The plan as a linear operator, dense or sparse, for the derivatives."""

from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import SAMPLE, Matrix, Vector
from sparsenum.ot.solutions import _cpu
from sparsenum.ot.solutions.optimum import Optimum
from sparsenum.sparse import CSR, cg, schur_cg, schur_direct, spmv, spmv_t

SPARSE = 0.25  # share of entries below which the plan is worth being taken as a sparse matrix
LEFT_OUT = 1e-12  # share of the mass that a sparse plan may leave out: no derivative shows it
RTOL, MAX_ITER = 1e-10, 300  # beyond 300 products a factorisation is cheaper


class PlanOperator(Protocol):
    """A plan P (n, m) between rows and columns with mass."""

    def times(self, x: Vector) -> Vector:
        """Return P x."""

    def times_t(self, y: Vector) -> Vector:
        """Return P' y."""

    def weighted_sums(self, weights: Matrix) -> tuple[Vector, Vector]:
        """Return the row and column sums of P * weights, entry by entry."""

    def schur_solve(self, r: Vector, c: Vector, rhs: Vector) -> Vector:
        """Solve (diag(c) - P' diag(1/r) P) z = rhs, singular along the constants."""

    def change(self, z_f: Vector, z_g: Vector, weights: Matrix, reg: float) -> Matrix:
        """Return P_ij (z_f_i + z_g_j - weights_ij / reg), dense."""


def plan_operator(optimum: Optimum) -> PlanOperator:
    """Return the plan at an optimum, sparse where a few rows suggest that it pays."""
    problem, reduction = optimum.problem, optimum.reduction
    f, g = optimum.reduced()
    rows = np.linspace(0, f.size - 1, min(f.size, SAMPLE)).astype(np.int64)
    width = -problem.reg * np.log(LEFT_OUT / (f.size * g.size))
    if np.mean(problem.row_costs(rows) - f[rows, None] - g < width) > SPARSE:
        P = problem.plan(f, g, out=np.empty((f.size, g.size)))
        P *= reduction.mass
        return DensePlan(cast(NDArray[np.float64], P))
    costs, entries = optimum.entries(LEFT_OUT)
    return SparsePlan(costs.with_data(reduction.mass * entries))


def operator_of(P: NDArray[np.float64]) -> PlanOperator:
    """Return a dense plan, as a sparse one where that pays."""
    strong = P * P.size > LEFT_OUT * P.sum()
    if strong.mean() > SPARSE:
        return DensePlan(P)
    return SparsePlan(CSR.from_dense(np.where(strong, P, 0.0)))


@dataclass(frozen=True, slots=True)
class DensePlan:
    """A plan with all its entries."""

    P: NDArray[np.float64]

    def times(self, x: Vector) -> Vector:
        """Return P x."""
        return self.P @ x

    def times_t(self, y: Vector) -> Vector:
        """Return P' y."""
        return y @ self.P

    def weighted_sums(self, weights: Matrix) -> tuple[Vector, Vector]:
        """Return the row and column sums of P * weights, entry by entry."""
        n, m = self.P.shape
        sums = np.empty(n), np.empty(m)
        _cpu.weighted_sums(self.P, weights, *sums)
        return sums

    def schur_solve(self, r: Vector, c: Vector, rhs: Vector) -> Vector:
        """Solve (diag(c) - P' diag(1/r) P) z = rhs, singular along the constants."""

        def product(z: Vector) -> Vector:
            out = np.empty_like(z)
            _cpu.schur_times(self.P, r, c, z, out)
            return out

        result = cg(product, rhs, diagonal=c, rtol=RTOL, max_iter=MAX_ITER)
        if result.converged:
            return result.x
        return schur_direct(CSR.from_dense(self.P / np.sqrt(r)[:, None]), c, rhs)

    def change(self, z_f: Vector, z_g: Vector, weights: Matrix, reg: float) -> Matrix:
        """Return P_ij (z_f_i + z_g_j - weights_ij / reg), dense."""
        change = np.empty_like(self.P)
        _cpu.plan_change(self.P, z_f, z_g, weights, reg, change)
        return change


@dataclass(frozen=True, slots=True)
class SparsePlan:
    """A plan without entries too small to change a derivative."""

    P: CSR

    def times(self, x: Vector) -> Vector:
        """Return P x."""
        return spmv(self.P, x).astype(np.float64, copy=False)

    def times_t(self, y: Vector) -> Vector:
        """Return P' y."""
        return spmv_t(self.P, y).astype(np.float64, copy=False)

    def weighted_sums(self, weights: Matrix) -> tuple[Vector, Vector]:
        """Return the row and column sums of P * weights, entry by entry."""
        n, m = self.P.shape
        sums = np.empty(n), np.empty(m)
        _cpu.support_weighted_sums(*self.P.arrays, weights, *sums)
        return sums

    def schur_solve(self, r: Vector, c: Vector, rhs: Vector) -> Vector:
        """Solve (diag(c) - P' diag(1/r) P) z = rhs, singular along the constants."""
        Q = self.P.with_data(self.P.data / np.sqrt(np.repeat(r, self.P.row_counts)))
        result = schur_cg(Q, c, rhs, rtol=RTOL, max_iter=MAX_ITER)
        return result.x if result.converged else schur_direct(Q, c, rhs)

    def change(self, z_f: Vector, z_g: Vector, weights: Matrix, reg: float) -> Matrix:
        """Return P_ij (z_f_i + z_g_j - weights_ij / reg), dense."""
        change = np.zeros(self.P.shape)
        _cpu.support_change(*self.P.arrays, z_f, z_g, weights, reg, change)
        return change
