"""From the caller's problem to the canonical one, which the algorithms see, and back."""

from __future__ import annotations  # a reduction makes others

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import real_array
from sparsenum.ot.problems.checks import shared_mass
from sparsenum.ot.problems.dense import Matrix, Vector
from sparsenum.sparse import CSR

if TYPE_CHECKING:
    import scipy.sparse

# Costs above both are meant as infinite: no float64 potential could make up for them.
SENTINEL, BEYOND = 1e30, 1e18

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reduction:
    """How the caller's problem relates to the canonical one: which rows and columns, and mass.

    Attributes
    ----------
    rows, columns : ndarray of int64
        The caller's row and column of each canonical one: those with mass, in any order.
    a, b : ndarray
        The caller's masses.
    mass : float
        Total mass of the caller's plan.
    M : ndarray, optional
        The caller's cost, where there is one.
    """

    rows: Places
    columns: Places
    a: Vector
    b: Vector
    mass: float
    M: Matrix | None = None

    @classmethod
    def between(cls, a: Vector, b: Vector, M: Matrix | None = None) -> Reduction:
        """Return the reduction to rows and columns with mass, of masses with one total."""
        return cls(np.flatnonzero(a), np.flatnonzero(b), a, b, shared_mass(a, b), M)

    @classmethod
    def of(cls, M: Matrix, a: Vector, b: Vector, reg: float) -> tuple[Reduction, Matrix]:
        """Return the reduction of a problem with a cost matrix, and the cost that is left."""
        reduction = cls.between(a, b, M)
        cost = forbidding(reduction.inner(M), reg)
        if cost.max() == np.inf:
            refuse_closed(cost, reduction.sides, (math.inf, math.inf))
        return reduction, cost

    @classmethod
    def relaxed(
        cls, M: Matrix, a: Vector, b: Vector, reg: float, rho: tuple[float, float]
    ) -> tuple[Reduction, Matrix]:
        """Do the same where penalties hold the marginals: what has no finite cost stays empty."""
        reduction = cls(np.flatnonzero(a), np.flatnonzero(b), a, b, 1.0, M)
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

    @property
    def is_whole(self) -> bool:
        """Whether every row and column of the caller's has mass, in the caller's order."""
        return all(
            np.array_equal(x, np.arange(n)) for x, n in zip(self.sides, self.shape, strict=True)
        )

    def expand(self, x: Vector, axis: int, fill: float) -> Vector:
        """Return a vector of the canonical problem at the caller's length."""
        out = np.full(self.shape[axis], fill)
        out[self.sides[axis]] = x
        return out

    def inner(self, X: Matrix) -> Matrix:
        """Return the part of a matrix of the caller's that the canonical problem has."""
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


def forbidding(M: Any, reg: Any) -> Any:
    """Return a cost with infinity where that is meant; itself, where there is no such thing."""
    if M.max() <= SENTINEL:
        return M
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


def start_of(potentials: tuple[ArrayLike, ArrayLike] | None, reduction: Reduction) -> Vector:
    """Return the start of g; f follows from it, since rows are exact at every iterate."""
    if potentials is None:
        return np.zeros(reduction.columns.size)
    if len(potentials) != 2:
        raise ValueError(f"potentials_init must be a pair (f, g): got {len(potentials)} items")
    f, g = (real_array(x, "potentials_init", 1) for x in potentials)
    if (f.size, g.size) != reduction.shape:
        raise ValueError(
            f"potentials_init must have lengths {reduction.shape}: got ({f.size}, {g.size})"
        )
    g = g[reduction.columns]
    return np.where(np.isfinite(g), g, 0.0)
