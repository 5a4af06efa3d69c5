"""From the caller's problem to the canonical one, which the algorithms see, and back."""

from __future__ import annotations  # a reduction makes others

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import items, real_array
from sparsenum.ot.problems.checks import refuse_total, shared_mass
from sparsenum.ot.problems.dense import Matrix, Problem, Vector
from sparsenum.ot.problems.offsets import EPS, LOST, Offsets, levelled
from sparsenum.sparse import CSR

if TYPE_CHECKING:
    import scipy.sparse

# Costs above both are meant as infinite: no float64 potential could make up for them.
SENTINEL, BEYOND = 1e30, 1e18
LEAST = 1e-200  # share of the total from which a mass counts: less matters to no tolerance

BLOCK = 128  # rows or columns whose costs are looked at together

Places = NDArray[np.int64]
Costs = Callable[[Places, Places], Matrix]  # of some rows and columns


@dataclass(frozen=True, slots=True)
class Reduction:
    """The relation of the caller's problem to the canonical one: its rows, columns and total mass.

    Attributes
    ----------
    rows, columns : ndarray of int64
        The caller's row and column of each canonical one: those with mass that counts, in any
        order.
    a, b : ndarray
        The caller's masses.
    mass : float
        Total mass of the caller's plan.
    M : ndarray, optional
        The caller's cost, where there is one.
    offsets : tuple of ndarray, optional
        What was taken off the cost of each canonical row and column.
    """

    rows: Places
    columns: Places
    a: Vector
    b: Vector
    mass: float
    M: Matrix | None = None
    offsets: Offsets | None = None

    @classmethod
    def between(cls, a: Vector, b: Vector, M: Matrix | None = None) -> Reduction:
        """Return the reduction to rows and columns with mass, of masses with one total."""
        mass = shared_mass(a, b)
        if M is not None and M.dtype == np.float32:
            refuse_total(mass, a.size * b.size)
        return cls(counting(a), counting(b), a, b, mass, M)

    @classmethod
    def of(cls, M: Matrix, a: Vector, b: Vector, reg: float) -> tuple[Reduction, Matrix]:
        """Return the reduction of a problem with a cost matrix, and the cost that is left."""
        reduction = cls.between(a, b, M)
        cost = reduction.inner(M)
        low, high = float(cost.min()), float(cost.max())
        if high > SENTINEL:
            cost = forbidding(cost, reg)
            refuse_closed(cost, reduction.sides, (math.inf, math.inf))
        if EPS * max(high, -low) > LOST * reg:
            cost, offsets = levelled(cost, reg)
            reduction = replace(reduction, offsets=offsets)
        return reduction, cost

    @classmethod
    def relaxed(
        cls,
        M: Matrix,
        a: Vector,
        b: Vector,
        reg: float,
        rho: tuple[float, float],
        entropic: bool = False,
    ) -> tuple[Reduction, Matrix]:
        """Do the same where penalties hold the marginals: what has no finite cost stays empty.

        Where the entropy is that of the plan alone, a mass x attracts as much as x^kappa.
        """
        power_a, power_b = (1.0 / (1.0 + reg / x) if entropic else 1.0 for x in rho)
        reduction = cls(counting(a, power_a), counting(b, power_b), a, b, 1.0, M)
        cost = forbidding(reduction.inner(M), reg)
        if cost.max() < np.inf:
            return reduction, cost
        refuse_closed(cost, reduction.sides, rho)
        rows, columns = (np.flatnonzero(cost.min(axis=axis) < np.inf) for axis in (1, 0))
        if not rows.size:
            raise ValueError("M must have a finite cost between some masses: got only infinity")
        places = reduction.rows[rows], reduction.columns[columns]
        return cls(*places, a, b, 1.0, M), cost[np.ix_(rows, columns)]

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the caller's problem."""
        return self.a.size, self.b.size

    @property
    def sides(self) -> tuple[Places, Places]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def masses(self) -> tuple[Vector, Vector]:
        """The caller's masses of the canonical rows and columns."""
        return self.a[self.rows], self.b[self.columns]

    @property
    def shares(self) -> tuple[Vector, Vector]:
        """Masses of the canonical rows and columns, whose sum is one."""
        a, b = self.masses
        return a / self.a.sum(), b / self.b.sum()

    def costs(self, rows: Places, columns: Places) -> Matrix:
        """Return the costs of some of the caller's rows and columns."""
        cost: Matrix = np.asarray(self.M)[np.ix_(rows, columns)]  # from a device, if it is there
        return cost

    @property
    def outside(self) -> tuple[Places, Places]:
        """Rows and columns without mass that counts."""
        rows, columns = (
            np.setdiff1d(np.arange(n), side) for n, side in zip(self.shape, self.sides, strict=True)
        )
        return rows, columns

    @property
    def left_out(self) -> tuple[Places, Places]:
        """Rows and columns that have mass, but too little to count."""
        rows, columns = self.outside
        return rows[self.a[rows] > 0], columns[self.b[columns] > 0]

    @property
    def is_whole(self) -> bool:
        """True if every row and column of the caller has mass, in the caller's order."""
        return all(
            np.array_equal(x, np.arange(n)) for x, n in zip(self.sides, self.shape, strict=True)
        )

    def expand(self, x: Vector, axis: int, fill: float) -> Vector:
        """Return a vector of the canonical problem at the caller's length."""
        out = np.full(self.shape[axis], fill)
        out[self.sides[axis]] = x
        return out

    def inner(self, X: Matrix) -> Matrix:
        """Return the rows and columns of a caller's matrix that the canonical problem keeps."""
        return X if self.is_whole else X[np.ix_(*self.sides)]

    def outer(self, X: Matrix) -> Matrix:
        """Return a matrix of the canonical problem at the caller's shape, zero elsewhere."""
        if self.is_whole:
            return X
        out = np.zeros(self.shape, X.dtype)
        out[np.ix_(*self.sides)] = X
        return out

    def expand_sparse(self, P: CSR) -> scipy.sparse.csr_array:
        """Return a sparse plan of the canonical problem at the caller's shape and mass."""
        from scipy.sparse import coo_array

        rows = np.repeat(self.rows, P.row_counts)
        entries = (P.data * self.mass, (rows, self.columns[P.indices]))
        return coo_array(entries, shape=self.shape).tocsr()


def counting(mass: Vector, power: float = 1.0) -> Places:
    """Return which masses are large enough to count, if they do by some power of them."""
    return np.flatnonzero((mass > 0) & ((mass / mass.sum()) ** power >= LEAST))


def forbidding(M: Any, reg: Any) -> Any:
    """Return a cost with infinity on forbidden pairs; the cost itself if no pair is forbidden."""
    if M.max() <= SENTINEL:
        return M
    with np.errstate(over="ignore"):  # of a reg that is yet to be refused
        meant = np.maximum(SENTINEL, BEYOND * reg) < M
    return M if np.isinf(M[meant]).all() else np.where(meant, np.inf, M)


def refuse_closed(cost: Matrix, sides: tuple[Places, Places], rho: tuple[float, float]) -> None:
    """Raise if a row or column with mass, which no penalty may leave empty, has no finite cost."""
    if all(map(math.isinf, rho)):
        where, remedy = "", "or set its mass to zero"
    else:
        where, remedy = " where unbalanced is inf", "or give unbalanced a finite value"
    for axis, side in enumerate(("row", "column")):
        closed = np.flatnonzero(cost.min(axis=1 - axis) == np.inf)
        if closed.size and math.isinf(rho[axis]):
            raise ValueError(
                f"M must leave each {side} with mass a finite cost{where}: got only infinite costs "
                f"in {side} {sides[axis][closed[0]]}; make one finite {remedy}"
            )


def start_of(
    potentials: tuple[ArrayLike, ArrayLike] | None, reduction: Reduction, reg: float
) -> Vector:
    """Return the first g; f follows from g, since rows are exact at every iterate.

    A start in which not one digit of the differences that a plan depends on is left is no start.
    """
    nothing = np.zeros(reduction.columns.size)
    if potentials is None:
        return nothing
    both = items(potentials, "potentials_init", "be a pair (f, g)", 2)
    f, g = (real_array(x, "potentials_init", 1) for x in both)
    if (f.size, g.size) != reduction.shape:
        raise ValueError(
            f"potentials_init must have lengths {reduction.shape}: got ({f.size}, {g.size})"
        )
    g = g[reduction.columns]
    if reduction.offsets is not None:
        g = g - reduction.offsets[1]
    g = np.where(np.isfinite(g), g, 0.0)
    return g if EPS * float(np.abs(g).max()) < reg else nothing


def completed(
    reduction: Reduction, f: Vector, g: Vector, reg: float, costs: Costs
) -> tuple[Vector, Vector]:
    """Return the caller's potentials at full length, also of what was left out of the solve.

    Without mass they are minus infinity. Where there is some, however little, they make its row
    or column sum to it: one soft minimum of the cost less the other side's potential. Columns
    come after the rows, and count them in, so that no two left out have an entry in common.
    """
    rows, columns = reduction.left_out
    full = reduction.expand(f, 0, -np.inf), reduction.expand(g, 1, -np.inf)
    for some in (rows[k : k + BLOCK] for k in range(0, rows.size, BLOCK)):
        full[0][some] = balancing(costs(some, reduction.columns), reduction.a[some], g, reg)
    known = np.concatenate([reduction.rows, rows[np.isfinite(full[0][rows])]])
    f = full[0][known]
    for some in (columns[k : k + BLOCK] for k in range(0, columns.size, BLOCK)):
        full[1][some] = balancing(costs(known, some).T, reduction.b[some], f, reg)
    return full


def balancing(M: Matrix, mass: Vector, g: Vector, reg: float) -> Vector:
    """Return the potentials at which rows sum to their masses; minus infinity where none can."""
    closed = M.min(axis=1) == np.inf
    M = np.ascontiguousarray(np.where(closed[:, None], 0.0, M))
    f = Problem(M, mass, np.ones_like(g), reg).iterate(g).f
    return np.where(closed, -np.inf, f)
