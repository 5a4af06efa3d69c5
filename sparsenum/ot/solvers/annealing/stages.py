"""Cheap dense stages in float32, which bring potentials close enough to be refined."""

from __future__ import annotations  # else each call would evaluate those of its inner functions

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import Problem, Vector
from sparsenum.ot.solvers import _cpu
from sparsenum.ot.solvers.monitor import Monitor

Vector32 = NDArray[np.float32]
TINY = np.finfo(np.float32).tiny
# What float32 sums cannot see anyway is cut off, so that nothing leaves its range of 1e-38 to 1e38.
LEAST_MASS, LARGEST_SCALING = np.float32(1e-12), np.float32(1e25)


@dataclass(frozen=True, slots=True)
class Stage:
    """The end of a stage: its potentials and their error.

    Attributes
    ----------
    phi, psi : ndarray
        Potentials relative to the masses: P_ij = a_i b_j exp((phi_i + psi_j - M_ij) / reg). They
        vary far less from one reg to the next than f and g do.
    reg : float
        Strength of the entropy they belong to.
    errors : list of float
        1-norm of the column violation after each sweep, rows exact; good to about 1e-6.
    """

    phi: Vector
    psi: Vector
    reg: float
    errors: list[float]

    @property
    def error(self) -> float:
        """Violation after the last sweep."""
        return self.errors[-1]

    def density(self, costs: NDArray[np.float64], rows: NDArray[np.int64], width: float) -> float:
        """Estimate from some rows of the cost the share of entries with slack below `width`."""
        slack = costs - self.phi[rows, None] - self.psi
        return np.count_nonzero(slack < width) / slack.size


class Annealer:
    """Sinkhorn stages on one float32 kernel, rebuilt for each reg: half the size of the cost.

    Masses are lifted to a least one, which phi and psi, relative to them, hardly notice.
    """

    def __init__(self, problem: Problem, monitor: Monitor) -> None:
        self.problem, self.monitor = problem, monitor
        self.K = np.empty(problem.M.shape, np.float32)
        self.a: Vector32 = np.maximum(problem.a.astype(np.float32), LEAST_MASS)
        self.b: Vector32 = np.maximum(problem.b.astype(np.float32), LEAST_MASS)
        self.log_b = np.log(self.b, dtype=np.float64)

    def stage(self, psi: Vector, reg: float, sweeps: int, goal: float) -> Stage:
        """Sweep at `reg` from `psi` until the error is below `goal`, at most `sweeps` times."""
        n = self.a.size
        top, u = np.empty(n), np.empty(n, np.float32)
        g = psi + reg * self.log_b
        M, K, a, summed = self.problem.M, self.K, self.a, self.problem.summed

        def begin(rows: slice, sums: Vector32) -> None:
            _cpu.anneal_stage(M[rows], a[rows], g, reg, K[rows], top[rows], u[rows], sums)

        def go_on(rows: slice, sums: Vector32) -> None:
            _cpu.scaling_sweep(K[rows], a[rows], v, u[rows], sums)

        sums = summed(begin, np.float32)
        errors = [float(np.abs(sums - self.b).sum())]
        v = self._correction(sums)
        while self.monitor.tick(errors[-1]) and errors[-1] > goal and len(errors) < sweeps:
            sums = summed(go_on, np.float32)
            errors.append(float(np.abs(np.multiply(v, sums, dtype=np.float64) - self.b).sum()))
            v = self._correction(sums)
        phi = reg * np.log(np.maximum(u, TINY).astype(np.float64) / self.a) - top
        psi = psi + reg * np.log(v.astype(np.float64))
        half = psi.size // 2
        middle = np.partition(psi, half)[half]  # no plan depends on it, and it would cost digits
        return Stage(phi + middle, psi - middle, reg, errors)

    def _correction(self, sums: Vector32) -> Vector32:
        scaling = self.b / np.maximum(sums, TINY)
        return np.clip(scaling, 1 / LARGEST_SCALING, LARGEST_SCALING)
