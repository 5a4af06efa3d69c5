"""Transport between point clouds without a cost matrix: costs are computed for the pairs in use."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems import _cpu as _cpu_dense
from sparsenum.ot.problems import _cpu_support
from sparsenum.ot.problems.clouds import _cpu
from sparsenum.ot.problems.clouds.pairs import Pairs
from sparsenum.ot.problems.clouds.tree import BLOCK, LEAF, Points, boxes
from sparsenum.ot.problems.dense import Iterate, Matrix, Problem, Vector

Metric = Literal["sqeuclidean", "cityblock"]

NOTHING = 60.0  # reg of slack beyond which the final check need not look: e^-60
CHUNK = 2**21  # entries that a pass over the plan holds at a time, about


@dataclass(frozen=True, slots=True)
class PointProblem:
    """The canonical problem between two clouds whose points are in tree order.

    Attributes
    ----------
    X, Y : ndarray, shape (n, d) and (m, d)
        The points.
    """

    X: Points
    Y: Points
    metric: Metric
    a: Vector
    b: Vector
    reg: float
    _coordinates: Points = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_coordinates", np.ascontiguousarray(self.Y.T))

    @property
    def squared(self) -> bool:
        """True if the cost is the squared Euclidean distance."""
        return self.metric == "sqeuclidean"

    def row_costs(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some rows of the cost."""
        return costs(self.X[rows], self.Y, self.metric)

    def column_costs(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some columns of the cost."""
        return costs(self.X, self.Y[columns], self.metric)

    def within(self, f: Vector, g: Vector, width: float) -> Pairs:
        """Return the pairs with M - f - g < width."""
        return Scan(self, f, g, width).pairs(slice(0, f.size))

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g: one pass over all pairs, in blocks of rows."""
        f, column_sums = np.empty_like(self.a), np.zeros_like(self.b)
        part = np.empty_like(self.b)
        for start in range(0, f.size, BLOCK):
            rows = slice(start, min(start + BLOCK, f.size))
            M = costs(self.X[rows], self.Y, self.metric)
            _cpu_dense.row_update(M, self.a[rows], g, self.reg, f[rows], part)
            column_sums += part
        return Iterate(f, g, column_sums, float(np.abs(column_sums - self.b).sum()))

    def marginals(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Return the row and column sums of the plan, computed afresh."""
        row_sums, column_sums = np.zeros_like(self.a), np.zeros_like(self.b)
        for rows, pairs in Scan(self, f, g, NOTHING * self.reg).chunks():
            P = np.empty(pairs.nnz)
            s = pairs.costs(P)
            _cpu_support.support_plan(s.indptr, s.indices, P, f[rows], g, self.reg, P)
            _cpu.add_sums(s.indptr, s.indices, P, row_sums[rows], column_sums)
        return row_sums, column_sums

    def plan(self, f: Vector, g: Vector, out: Matrix | None = None) -> Matrix:
        """Return the dense plan, shape (n, m), in `out` if there is one."""
        M = costs(self.X, self.Y, self.metric)
        return Problem(M, self.a, self.b, self.reg).plan(f, g, out)


class Scan:
    """A search for the pairs with slack M - f - g below a width, by blocks, leaves and points."""

    def __init__(self, problem: PointProblem, f: Vector, g: Vector, width: float) -> None:
        self.problem, self.f, self.g, self.width = problem, f, g, width
        blocks = boxes(problem.X, f, BLOCK), boxes(problem.Y, g, BLOCK)
        self.close = np.empty((len(blocks[0].top), len(blocks[1].top)), np.bool_)
        _cpu.close_blocks(*map(tuple, blocks), problem.squared, width, self.close)
        self.leaves = boxes(problem.X, f, LEAF), boxes(problem.Y, g, LEAF)

    def pairs(self, rows: slice) -> Pairs:
        """Return the pairs of some rows, which must begin with a leaf."""
        p = self.problem
        clouds = p.X, p._coordinates, self.f, self.g, p.squared, self.width
        search = *map(tuple, self.leaves), self.close, (LEAF, BLOCK // LEAF), rows.start
        indptr = np.zeros(rows.stop - rows.start + 1, np.uint64)
        _cpu.count_close(*clouds, *search, indptr)
        np.cumsum(indptr, out=indptr)
        index: type[np.unsignedinteger[Any]] = np.uint16 if self.g.size <= 2**16 else np.uint32
        indices = np.empty(int(indptr[-1]) + 1, index)
        _cpu.fill_close(*clouds, *search, indptr, indices)
        return Pairs(p.X[rows], p._coordinates, p.squared, indptr, indices[:-1])

    def chunks(self) -> Iterator[tuple[slice, Pairs]]:
        """Yield the pairs of all rows, some blocks of rows at a time."""
        most = np.maximum(self.close.sum(axis=1) * BLOCK, 1) * BLOCK  # entries of a block
        chunk = np.cumsum(most) // CHUNK
        starts = np.flatnonzero(np.diff(chunk, prepend=-1)) * BLOCK
        for start, stop in zip(starts, [*starts[1:], self.f.size], strict=True):
            rows = slice(int(start), int(stop))
            yield rows, self.pairs(rows)


def costs(X: Points, Y: Points, metric: Metric) -> NDArray[np.float64]:
    """Return the costs between two sets of points, shape (n, m)."""
    M = np.empty((len(X), len(Y)))
    kernel = _cpu.squared_costs if metric == "sqeuclidean" else _cpu.absolute_costs
    kernel(np.ascontiguousarray(X), np.ascontiguousarray(Y.T), M)
    return M
