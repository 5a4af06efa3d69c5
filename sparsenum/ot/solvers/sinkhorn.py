"""Sinkhorn's algorithm, one fused pass over the kernel for each iteration."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import UNDERFLOW, Iterate, Problem, Vector
from sparsenum.ot.solvers import _cpu

# Scalings are absorbed into the potentials before they reach this size, far from overflow and
# from the point where entries cut at e^-600 could matter.
LARGEST_SCALING = 1e100


def sinkhorn(problem: Problem, g: Vector, wanted: Callable[[float], bool]) -> Iterate:
    """Scale rows and columns in turn until `wanted(error)` is false [1]_.

    The iterates are those of the plain algorithm. What differs is the arithmetic: the kernel holds
    the plan of the current potentials, so nothing under- or overflows however small `reg` is; no
    entry is denormal; and the row scaling, its effect on the columns and the error come out of a
    single pass.

    References
    ----------
    .. [1] Cuturi, "Sinkhorn Distances", NeurIPS 2013; absorption as in Schmitzer, "Stabilized
       Sparse Scaling Algorithms", SIAM J. Sci. Comput. 2019, section 3.1.
    """
    at = problem.iterate(g)
    K = np.empty(problem.M.shape)
    proceed = wanted(at.error)
    while proceed:
        # Sweeps by scaling until a scaling grows too large, then one in potentials.
        problem.plan(at.f, at.g, out=K)
        u, v = np.ones_like(problem.a), np.ones_like(problem.b)
        sums, error = at.column_sums, at.error
        while proceed and sums.min() > UNDERFLOW:
            corrected = problem.b / sums
            if not 1 / LARGEST_SCALING < corrected.min() <= corrected.max() < LARGEST_SCALING:
                break
            v = corrected
            sums = problem.summed(partial(sweep, K, problem.a, u, v))
            error = float(np.abs(v * sums - problem.b).sum())
            proceed = wanted(error)
        f, g = at.f + problem.reg * np.log(u), at.g + problem.reg * np.log(v)
        at = Iterate(f, g, v * sums, error)
        if proceed:
            at = problem.sinkhorn_sweep(at)
            proceed = wanted(at.error)
    return at


def sweep(
    K: NDArray[np.float64], a: Vector, u: Vector, v: Vector, rows: slice, sums: Vector
) -> None:
    """Scale some rows, and write their share of the column sums."""
    _cpu.scaling_sweep(K[rows], a[rows], v, u[rows], sums)
