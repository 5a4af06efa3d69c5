"""Transport between point clouds without a cost matrix: costs are computed where they matter."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot import _cpu
from sparsenum.ot.anneal import Stage
from sparsenum.ot.auto import annealed_newton
from sparsenum.ot.levels import descend
from sparsenum.ot.monitor import Monitor
from sparsenum.ot.problem import SAMPLE, Iterate, Problem, Vector, gather
from sparsenum.sparse import CSR
from sparsenum.sparse.formats import index_type

Metric = Literal["sqeuclidean", "cityblock"]
Points = NDArray[np.float64]

LEAF = 128  # points of a block: the unit in which pairs are ruled out by their boxes
CLUSTER = 4  # points of a cluster: the ratio between two scales
COARSEST = 1500  # points from which the dense solver takes over
COARSE_TOL = 1e-3  # error at which a coarser scale is good enough to start from
FACTOR = 3.0  # between levels of reg on one scale
NOTHING = 60.0  # reg of slack beyond which the final check need not look: e^-60
DENSE_WIDTH = 30.0  # reg of slack that the last support will need, about
# Share of pairs in the plan from which it is worth trying to do without a support, and how long.
TOO_DENSE, SWEEPS = 0.4, 60


@dataclass(frozen=True, slots=True)
class PointProblem:
    """The canonical problem between two clouds whose points are in tree order.

    Attributes
    ----------
    X, Y : ndarray, shape (n, d) and (m, d)
        The points.
    bounds : ndarray
        Least cost between each block of rows and each block of columns.
    """

    X: Points
    Y: Points
    metric: Metric
    a: Vector
    b: Vector
    reg: float
    bounds: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bounds = box_costs(_boxes(self.X), _boxes(self.Y), self.metric)
        object.__setattr__(self, "bounds", bounds)

    def row_costs(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some rows of the cost."""
        return costs(self.X[rows], self.Y, self.metric)

    def column_costs(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some columns of the cost."""
        return costs(self.X, self.Y[columns], self.metric)

    def blocks(
        self, f: Vector, g: Vector, width: float
    ) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.float64]]]:
        """Yield, for blocks of rows, the columns that may have slack below `width`, and costs."""
        highest_f = np.maximum.reduceat(f, np.arange(0, f.size, LEAF))
        highest_g = np.maximum.reduceat(g, np.arange(0, g.size, LEAF))
        near = self.bounds - highest_f[:, None] - highest_g < width
        for block, hit in enumerate(near):
            rows = slice(block * LEAF, min((block + 1) * LEAF, f.size))
            columns = np.flatnonzero(np.repeat(hit, LEAF)[: g.size])
            yield rows, columns, costs(self.X[rows], self.Y[columns], self.metric)

    def within(self, f: Vector, g: Vector, width: float) -> CSR:
        """Return the costs of the entries with M - f - g < width."""
        counts, indices, data = [], [], []
        for rows, columns, M in self.blocks(f, g, width):
            slack, none = np.full(len(M), width), np.full(columns.size, -np.inf)
            part = gather(M, f[rows], g[columns], slack, none)
            counts.append(part.row_counts)
            indices.append(columns[part.indices].astype(index_type(g.size)))
            data.append(part.data.copy())
        indptr = np.zeros(f.size + 1, np.uint64)
        np.cumsum(np.concatenate(counts), out=indptr[1:], dtype=np.uint64)
        return CSR(indptr, np.concatenate(indices), np.concatenate(data), (f.size, g.size))

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g: one pass over all pairs, in blocks of rows."""
        f, column_sums = np.empty_like(self.a), np.zeros_like(self.b)
        part = np.empty_like(self.b)
        for start in range(0, f.size, LEAF):
            rows = slice(start, min(start + LEAF, f.size))
            M = costs(self.X[rows], self.Y, self.metric)
            _cpu.row_update(M, self.a[rows], g, self.reg, f[rows], part)
            column_sums += part
        return Iterate(f, g, column_sums, float(np.abs(column_sums - self.b).sum()))

    def marginals(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Return the row and column sums of the plan, computed afresh."""
        row_sums, column_sums = np.zeros_like(self.a), np.zeros_like(self.b)
        for rows, columns, M in self.blocks(f, g, NOTHING * self.reg):
            part = np.empty(columns.size)
            _cpu.plan_sums(M, f[rows], g[columns], self.reg, row_sums[rows], part)
            column_sums[columns] += part
        return row_sums, column_sums

    def plan(self, f: Vector, g: Vector) -> NDArray[np.float64]:
        """Return the dense plan, shape (n, m)."""
        M = costs(self.X, self.Y, self.metric)
        return Problem(M, self.a, self.b, self.reg).plan(f, g)


def costs(X: Points, Y: Points, metric: Metric) -> NDArray[np.float64]:
    """Return the costs between two sets of points, shape (n, m)."""
    M = np.empty((len(X), len(Y)))
    kernel = _cpu.squared_costs if metric == "sqeuclidean" else _cpu.absolute_costs
    kernel(np.ascontiguousarray(X), np.ascontiguousarray(Y.T), M)
    return M


class Boxes(NamedTuple):
    """The corners of boxes around blocks of points, shape (blocks, d) each."""

    low: Points
    high: Points


def _boxes(X: Points, size: int = LEAF) -> Boxes:
    starts = np.arange(0, len(X), size)
    return Boxes(np.minimum.reduceat(X, starts), np.maximum.reduceat(X, starts))


def box_costs(one: Boxes, other: Boxes, metric: Metric) -> NDArray[np.float64]:
    """Return the least cost between the points of any two boxes."""
    gap = np.maximum(one.low[:, None] - other.high, other.low - one.high[:, None])
    gap = np.maximum(gap, 0.0)
    total: NDArray[np.float64] = (gap**2 if metric == "sqeuclidean" else gap).sum(axis=-1)
    return total


def tree_order(X: Points) -> NDArray[np.int64]:
    """Return an order in which runs of points are close in space: the leaves of a k-d tree."""
    parts = [np.arange(len(X))]
    while max(len(part) for part in parts) > CLUSTER:
        halves = []
        for part in parts:
            middle = len(part) // 2
            axis = int(np.argmax(np.ptp(X[part], axis=0)))
            split = part[np.argpartition(X[part, axis], middle)]
            halves += [split[:middle], split[middle:]]
        parts = [half for half in halves if len(half)]
    return np.concatenate(parts)


def coarsened(problem: PointProblem) -> PointProblem:
    """Return the problem between the centres of clusters, at the reg that clusters blur to."""
    starts = [np.arange(0, len(Z), CLUSTER) for Z in (problem.X, problem.Y)]
    a, b = np.add.reduceat(problem.a, starts[0]), np.add.reduceat(problem.b, starts[1])
    X = np.add.reduceat(problem.X * problem.a[:, None], starts[0]) / a[:, None]
    Y = np.add.reduceat(problem.Y * problem.b[:, None], starts[1]) / b[:, None]
    box = _boxes(problem.X, CLUSTER)
    extent = box.high - box.low
    blur = (extent**2 if problem.metric == "sqeuclidean" else extent).sum(axis=1)
    reg = max(problem.reg, float(np.median(blur)))
    return PointProblem(X, Y, problem.metric, a, b, reg)


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
    own = monitor if len(scales) == 1 else Monitor(COARSE_TOL, monitor.max_iter)
    at, counts = annealed_newton(dense, np.zeros_like(coarse.b), own)
    for fine in reversed(scales[:-1]):
        phi, psi = extended(coarse, at, fine)
        own = monitor if fine is problem else Monitor(COARSE_TOL, monitor.max_iter)
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


def extended(coarse: PointProblem, at: Iterate, fine: PointProblem) -> tuple[Vector, Vector]:
    """Return relative potentials on the fine points: soft minima over the coarse ones."""
    reg, metric = coarse.reg, coarse.metric
    ones = (np.ones_like(fine.a), np.ones_like(fine.b))
    rows = PointProblem(fine.X, coarse.Y, metric, ones[0], coarse.b, reg)
    columns = PointProblem(fine.Y, coarse.X, metric, ones[1], coarse.a, reg)
    return rows.iterate(at.g).f, columns.iterate(at.f).f
