"""From clusters of points to points: each scale starts from the potentials of the coarser one."""

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.clouds.points import PointProblem, costs
from sparsenum.ot.problems.clouds.tree import CLUSTER
from sparsenum.ot.problems.dense import SAMPLE, Iterate, Problem, Vector
from sparsenum.ot.problems.support import Restricted
from sparsenum.ot.solvers.annealing.auto import annealed_newton
from sparsenum.ot.solvers.annealing.stages import Stage
from sparsenum.ot.solvers.annealing.supports import descend
from sparsenum.ot.solvers.monitor import Monitor

COARSEST = 1500  # points from which the dense solver takes over
COARSE_TOL = 1e-3  # error at which a coarser scale is good enough to start from
FACTOR = 3.0  # between levels of reg on one scale
DENSE_WIDTH = 30.0  # reg of slack that the last support will need, about
# Share of pairs in the plan from which it is worth trying to do without a support, and how long.
TOO_DENSE, SWEEPS = 0.4, 60
NEGLIGIBLE = 20.0  # reg above its least term that a soft minimum need not look


def multiscale_newton(
    problem: PointProblem, monitor: Monitor
) -> tuple[Iterate, dict[str, int], int]:
    """Solve between clusters of points first, then between points; return also the scales used.

    On each scale but the coarsest, the potentials of the next coarser one are extended by a soft
    minimum and Newton's method goes down in reg on sparse supports, to the reg of that scale. A
    plan that is dense even at the target is left to Sinkhorn sweeps over blocks.
    """
    scales = [problem]
    while min(scales[-1].a.size, scales[-1].b.size) > COARSEST:
        scales.append(coarsened(scales[-1]))
    coarse = scales[-1]
    M = costs(coarse.X, coarse.Y, coarse.metric)
    dense = Problem(M, coarse.a, coarse.b, coarse.reg)
    own = monitor if len(scales) == 1 else monitor.forerunner(COARSE_TOL)
    at, counts = annealed_newton(dense, np.zeros_like(coarse.b), own)
    for fine in reversed(scales[:-1]):
        phi, psi = extended(coarse, at, fine)
        own = monitor if fine is problem else monitor.forerunner(COARSE_TOL)
        rows = np.linspace(0, fine.a.size - 1, min(fine.a.size, SAMPLE)).astype(np.int64)
        warm = Stage(phi, psi, max(coarse.reg, FACTOR * fine.reg), [])
        if warm.density(fine.row_costs(rows), rows, DENSE_WIDTH * fine.reg) > TOO_DENSE:
            at = sweep(fine, fine.iterate(psi + fine.reg * np.log(fine.b)), own)
        if own.wants_more():
            at, counts, _ = descend(fine, own, warm, FACTOR)
        coarse = fine
    return at, counts, len(scales)


def sweep(problem: PointProblem, at: Iterate, monitor: Monitor) -> Iterate:
    """Take Sinkhorn sweeps over all pairs, in blocks, as many as an easy problem needs."""
    left = SWEEPS
    while monitor.proceed(at.error) and left:
        left -= 1
        at = problem.iterate(at.g + problem.reg * np.log(problem.b / at.column_sums))
    return at


def coarsened(problem: PointProblem) -> PointProblem:
    """Return the problem between the centres of clusters, at the reg that clusters blur to."""
    starts = [np.arange(0, len(Z), CLUSTER) for Z in (problem.X, problem.Y)]
    a, b = np.add.reduceat(problem.a, starts[0]), np.add.reduceat(problem.b, starts[1])
    X = np.add.reduceat(problem.X * problem.a[:, None], starts[0]) / a[:, None]
    Y = np.add.reduceat(problem.Y * problem.b[:, None], starts[1]) / b[:, None]
    extent = np.maximum.reduceat(problem.X, starts[0]) - np.minimum.reduceat(problem.X, starts[0])
    blur = (extent**2 if problem.squared else extent).sum(axis=1)
    reg = max(problem.reg, float(np.median(blur)))
    return PointProblem(X, Y, problem.metric, a, b, reg)


def extended(coarse: PointProblem, at: Iterate, fine: PointProblem) -> tuple[Vector, Vector]:
    """Return relative potentials on the fine points: soft minima over the coarse ones."""
    metric, reg = coarse.metric, coarse.reg
    rows = PointProblem(fine.X, coarse.Y, metric, np.ones_like(fine.a), coarse.b, reg)
    columns = PointProblem(fine.Y, coarse.X, metric, np.ones_like(fine.b), coarse.a, reg)
    partner, other = partners(coarse, at)
    return soft_minimum(rows, at.g, partner), soft_minimum(columns, at.f, other)


def partners(problem: PointProblem, at: Iterate) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each row and each column a partner of least slack.

    Rows of the plan sum to a, so that each holds an entry above a_i b_j: one without slack.
    """
    phi = at.f - problem.reg * np.log(problem.a)
    psi = at.g - problem.reg * np.log(problem.b)
    pairs = problem.within(phi, psi, problem.reg)
    cost = pairs.costs(np.empty(pairs.nnz)).data
    rows, columns = np.repeat(np.arange(phi.size), pairs.row_counts), pairs.indices
    order = np.argsort(cost - at.f[rows] - at.g[columns])[::-1]  # the best comes last and stays
    best_column, best_row = np.zeros(phi.size, np.int64), np.full(psi.size, -1)
    best_column[rows[order]], best_row[columns[order]] = columns[order], rows[order]
    bare = np.flatnonzero(best_row < 0)
    if bare.size:
        best_row[bare] = (problem.column_costs(bare) - at.f[:, None]).argmin(axis=0)
    return best_column, best_row


def soft_minimum(problem: PointProblem, g: Vector, partner: NDArray[np.int64]) -> Vector:
    """Return the f of unit row sums for g; `partner` tells where each cluster of rows looks first.

    The cost at the partner bounds the least term from above, so no larger term is missed.
    """
    nearest = np.repeat(partner, CLUSTER)[: problem.a.size]
    gap = problem.X - problem.Y[nearest]
    first = (gap**2 if problem.squared else np.abs(gap)).sum(axis=1) - g[nearest]
    pairs = problem.within(first, g, NEGLIGIBLE * problem.reg)
    return Restricted(pairs, problem.a, problem.b, problem.reg).iterate(g).f
