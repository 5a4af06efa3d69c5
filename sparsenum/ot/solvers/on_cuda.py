"""The problem on a CUDA device: costs, potentials, Hessians stay there, the host sees scalars."""

from __future__ import annotations  # else each call would evaluate those of its inner functions

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from sparsenum import _cuda as device
from sparsenum.ot.problems.dense import UNDERFLOW, Vector
from sparsenum.ot.solvers import _cuda
from sparsenum.ot.solvers.newton import (
    CG_LEAST,
    CG_MAX_ITER,
    CG_MOST,
    CG_PER_ERROR,
    DROP_MOST,
    DROP_PER_ERROR,
    Pace,
    backtrack,
)
from sparsenum.sparse import CSR
from sparsenum.sparse.on_cuda import offsets, schur_cg

Array = Any  # on the device
RANGES = 2 if device.SIMULATED else 32  # of rows, whose column sums are taken side by side
STALLED_MAX_ITER = 10 * CG_MAX_ITER  # products where fewer did not do: there is no factorisation


class Point(NamedTuple):
    """Potentials whose plan has exact rows, on the device, and their scalars on the host.

    Attributes
    ----------
    f, g : device array
        Potentials in cost units.
    column_sums : device array
        Column sums of the plan; its rows sum to a.
    error : float
        1-norm of column_sums - b.
    least : float
        Least of the column sums.
    value : float
        Dual objective, up to a constant.
    """

    f: Array
    g: Array
    column_sums: Array
    error: float
    least: float
    value: float


@dataclass
class DeviceProblem:
    """Find P = exp((f + g - M) / reg) with row sums a and column sums b, on a CUDA device.

    Attributes
    ----------
    cost : device array, shape (n, m)
        float64 or float32; arithmetic is float64.
    a, b : ndarray
        Masses, positive, of sum one, on the host.
    reg : float
        Strength of the entropy.
    """

    cost: Array
    a: Vector
    b: Vector
    reg: float
    sides: tuple[Array, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.sides = device.to_device(self.a), device.to_device(self.b)
        self._numbers = device.empty(3)
        self._tiles = device.per_item(self.b.size)

    def at(self, reg: float) -> DeviceProblem:
        """Return the same problem at another reg."""
        return DeviceProblem(self.cost, self.a, self.b, reg)

    # What a solve asks, without anything but scalars leaving the device.

    def iterate(self, g: Array) -> Point:
        """Eliminate f for a given g: two passes over the cost, one by rows and one by columns."""
        g = device.to_device(g)
        f = device.empty(self.a.size)
        _cuda.row_update[device.per_row(self.a.size)](self.cost, self.sides[0], g, self.reg, f)
        sums = self._column_sums(f, g)
        _cuda.summary[device.ONE_BLOCK](*self.sides, f, g, sums, self._numbers)
        return Point(f, g, sums, *map(float, self._numbers.copy_to_host()))

    def sinkhorn_sweep(self, at: Point) -> Point:
        """Correct the columns, then the rows: one Sinkhorn iteration in potentials."""
        g, b = device.empty(self.b.size), self.sides[1]
        if at.least > UNDERFLOW:
            _cuda.corrected[self._tiles](at.g, b, at.column_sums, self.reg, g)
        else:
            _cuda.column_update[self._tiles](self.cost, b, at.f, self.reg, g)
        return self.iterate(g)

    def relative(self, g: Array, reg: float) -> Array:
        """Return g + reg log b."""
        return self._moved(g, device.to_device(np.log(self.b)), reg)

    def _moved(self, g: Array, x: Array, length: float) -> Array:
        out = device.empty(self.b.size)
        _cuda.moved[self._tiles](device.to_device(g), x, length, out)
        return out

    def newton_step(self, at: Point, pace: Pace, goal: float) -> tuple[Point | None, bool]:
        """Return the next iterate (None if refused), and whether a full, unclipped step led there.

        The host waits four times at least: for the size of the Hessian, for the direction's reach,
        and for each trial point.
        """
        x, slope, reach = self._direction(at, pace, goal)
        lengths = []

        def point(length: float) -> Point:
            lengths.append(length)
            return self.iterate(self._moved(at.g, x, length * self.reg))

        better = backtrack(at, point, self.reg * slope, self.reg, pace, reach)
        return better, better is not None and len(lengths) == 1 and reach < 1.0

    def _direction(self, at: Point, pace: Pace, goal: float) -> tuple[Array, float, float]:
        """Solve the Newton system of `newton.direction`; centre and clip what comes out."""
        b, c, m = self.sides[1], at.column_sums, self.b.size
        weight, rhs, out = device.empty(m), device.empty(m), device.empty(2)
        _cuda.newton_system[self._tiles](b, c, pace.damping, UNDERFLOW, weight, rhs)
        Q = self._hessian(at, min(DROP_MOST, DROP_PER_ERROR * at.error))
        rtol = min(CG_MOST, max(CG_PER_ERROR * at.error, CG_LEAST, 0.1 * goal / at.error))
        most = STALLED_MAX_ITER if pace.stalled else CG_MAX_ITER
        x, _, n_iter = schur_cg(Q, weight, rhs, rtol, most)
        pace.stalled |= n_iter == most
        pace.cg += n_iter
        _cuda.centre[device.ONE_BLOCK](x, rhs, pace.cap, out)
        reach, slope = map(float, out.copy_to_host())
        return x, slope, reach

    def _hessian(self, at: Point, drop: float) -> CSR:
        """Return P / sqrt(a) without entries below the share `drop` of both row and column."""
        floors = []
        for mass in (self.sides[0], at.column_sums):
            floors.append(device.empty(mass.size))
            grid = device.per_item(mass.size)
            _cuda.slacks[grid](mass, drop, UNDERFLOW, self.reg, floors[-1])
        Q = self._gather(at.f, at.g, *floors)
        grid = device.per_row(self.a.size)
        _cuda.scaled_plan[grid](*Q.arrays, self.sides[0], at.f, at.g, self.reg)
        return Q

    def _gather(self, f: Array, g: Array, row_slack: Array, column_slack: Array) -> CSR:
        """Return the costs of the entries with M - f - g below their row's or column's slack."""
        n, m = self.cost.shape
        grid = device.per_row(n)
        counts, slack = device.empty(n, np.uint64), (row_slack, column_slack)
        _cuda.count_slack[grid](self.cost, f, g, *slack, counts)
        indptr, nnz = offsets(counts)
        indices, costs = device.empty(nnz, np.uint32), device.empty(nnz)
        _cuda.fill_cost[grid](self.cost, f, g, *slack, indptr, indices, costs)
        return CSR(indptr, indices, costs, (n, m))

    def _column_sums(self, f: Array, g: Array) -> Array:
        blocks, threads = self._tiles
        parts, sums = device.empty((RANGES, self.b.size)), device.empty(self.b.size)
        grid = ((blocks, RANGES), (threads, 1))
        _cuda.column_sums[grid](self.cost, f, g, self.reg, parts)
        _cuda.add_up[self._tiles](parts, sums)
        return sums

    # What a result asks, in arrays of the host.

    @cached_property
    def M(self) -> NDArray[Any]:
        """The cost on the host, brought there when asked for."""
        cost: NDArray[Any] = self.cost.copy_to_host()
        return cost

    def row_costs(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some rows of M, in float64."""
        columns = device.to_device(np.arange(self.b.size))
        some = take(self.cost, device.to_device(rows), columns).copy_to_host()
        return cast(Vector, some.astype(np.float64, copy=False))

    def marginals(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Return the row and column sums of the plan, computed afresh."""
        f, g, sums = device.to_device(f), device.to_device(g), device.empty(self.a.size)
        _cuda.row_sums[device.per_row(self.a.size)](self.cost, f, g, self.reg, sums)
        return sums.copy_to_host(), self._column_sums(f, g).copy_to_host()

    def within(self, f: Vector, g: Vector, width: float) -> CSR:
        """Return the costs of the entries with M - f - g < width."""
        slack = np.full(f.size, width), np.full(g.size, -np.inf)
        found = self._gather(*map(device.to_device, (f, g, *slack)))
        arrays: list[Any] = [*found.arrays]
        indptr, indices, costs = (x.copy_to_host() for x in arrays)
        return CSR(indptr, indices, costs, found.shape)

    def plan(self, f: Vector, g: Vector, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the dense plan, shape (n, m), in `out` or else in the precision of the cost."""
        P: NDArray[Any] = self.device_plan(f, g, 1.0).copy_to_host()
        if out is None:
            return P
        out[:] = P
        return out

    def device_plan(self, f: Vector, g: Vector, mass: float) -> Array:
        """Return the dense plan times a mass, on the device."""
        P = device.empty(self.cost.shape, self.cost.dtype)
        grid = device.per_row(self.a.size)
        f, g = device.to_device(f), device.to_device(g)
        _cuda.plan[grid](self.cost, f, g, self.reg, mass, P)
        return P


def take(M: Array, rows: Array, columns: Array) -> Array:
    """Return some rows and columns of a cost on the device."""
    out = device.empty((rows.size, columns.size), M.dtype)
    _cuda.take[device.per_row(rows.size)](M, rows, columns, out)
    return out


class Extent(NamedTuple):
    """The least and the largest finite cost, NaN if any cost is, and whether some are infinite.

    Without a finite cost the least is infinite and the largest minus infinite.
    """

    low: float
    high: float
    endless: bool


def extent(M: Array) -> Extent:
    """Return the extent of the costs, in one pass."""
    grid = device.per_row(M.shape[0])
    parts = device.empty((grid[0], 4))
    _cuda.extent[grid](M, parts)
    low, high, bad, endless = parts.copy_to_host().T
    if bad.any():
        return Extent(math.nan, math.nan, False)
    return Extent(float(low.min()), float(high.max()), bool(endless.any()))
