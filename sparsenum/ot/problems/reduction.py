"""From the caller's problem to the canonical one, which the algorithms see, and back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import float_type, real_array
from sparsenum.ot.problems.dense import Matrix, Problem, Vector
from sparsenum.sparse import CSR

if TYPE_CHECKING:
    import scipy.sparse

RegType = Literal["KL", "entropy"]
REG_TYPES: dict[str, RegType] = {"kl": "KL", "entropy": "entropy"}
# Costs above both are meant as infinite: no float64 potential could make up for them.
SENTINEL, BEYOND = 1e30, 1e18
MASS_MISMATCH = 1e-6  # relative difference of the totals of a and b that is taken for rounding


@dataclass(frozen=True, slots=True)
class Support:
    """How the caller's problem relates to the canonical one: which rows and columns, and mass.

    Attributes
    ----------
    rows, columns : ndarray of int64
        The caller's row and column of each canonical one: those with mass, in any order.
    shape : tuple of int
        Size of the caller's problem.
    mass : float
        Total mass of the caller's problem.
    M : ndarray, optional
        The caller's cost, where there is one.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, int]
    mass: float
    M: Matrix | None = None

    def expand(self, x: Vector, axis: int, fill: float) -> Vector:
        """Return a vector of the canonical problem at the caller's length."""
        out = np.full(self.shape[axis], fill)
        out[(self.rows, self.columns)[axis]] = x
        return out

    @property
    def is_whole(self) -> bool:
        """Whether every row and column of the caller's has mass, in the caller's order."""
        return all(
            np.array_equal(x, np.arange(n)) for x, n in zip(self.sides, self.shape, strict=True)
        )

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

    def expand_sparse(self, P: CSR) -> "scipy.sparse.csr_array":
        """Return a sparse plan of the canonical problem at the caller's shape and mass."""
        from scipy.sparse import coo_array

        rows = np.repeat(self.rows, P.row_counts)
        entries = (P.data * self.mass, (rows, self.columns[P.indices]))
        return coo_array(entries, shape=self.shape).tocsr()

    @property
    def sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns."""
        return self.rows, self.columns


def cost_matrix(M: ArrayLike) -> Matrix:
    """Return a cost without NaN and minus infinity."""
    cost: Matrix = real_array(M, "M", 2, float_type(M))
    if 0 in cost.shape:
        raise ValueError(f"M must have at least one row and one column: got shape {cost.shape}")
    refuse_cost(float(cost.min()))
    return cost


def refuse_cost(lowest: float) -> None:
    """Raise if the least cost is not a number that a plan can be made for."""
    if not np.isfinite(lowest):
        fact = "NaN" if np.isnan(lowest) else "a row of" if lowest > 0 else "minus"
        raise ValueError(
            f"M must hold numbers or plus infinity: got {fact} {'infinity' * (fact != 'NaN')}; "
            "clean the cost first"
        )


def masses(x: ArrayLike | None, name: str, length: int) -> Vector:
    """Return masses for one side of a problem: checked, uniform if there are none."""
    if x is None or np.size(x) == 0:
        return np.full(length, 1.0 / length)
    mass = real_array(x, name, 1)
    if mass.size != length:
        side = "row" if name == "a" else "column"
        raise ValueError(
            f"{name} must have one mass for each {side} of M, {length}: got {mass.size}"
        )
    if not (np.isfinite(mass).all() and (mass >= 0).all()):
        raise ValueError(
            f"{name} must hold finite masses, not negative: got values from {mass.min()} to "
            f"{mass.max()}; clean it, or clip what rounding made negative"
        )
    if not mass.sum() > 0:
        raise ValueError(f"{name} must have positive total mass: got 0; is the histogram empty?")
    return mass


def shared_mass(a: Vector, b: Vector) -> float:
    """Return the total mass, once it is the same on both sides."""
    total_a, total_b = float(a.sum()), float(b.sum())
    if abs(total_a - total_b) > MASS_MISMATCH * max(total_a, total_b):
        raise ValueError(
            f"a must sum to the same total as b: got {total_a:.9g} and {total_b:.9g}; divide each "
            "by its sum, or use unbalanced transport"
        )
    return total_a


def forbidding(M: Any, reg: Any) -> Any:
    """Return a cost with infinity where that is meant; itself, where there is no such thing."""
    if M.max() <= SENTINEL:
        return M
    meant = np.maximum(SENTINEL, BEYOND * reg) < M
    return M if np.isinf(M[meant]).all() else np.where(meant, np.inf, M)


def value_type(reg_type: str) -> RegType:
    """Return the name of a convention for the value, in whatever case it was written."""
    name = str(reg_type).lower()
    if name not in REG_TYPES:
        raise NotImplementedError(
            f"reg_type must be 'KL' or 'entropy': got {reg_type!r}; POT's ot.solve has others"
        )
    return REG_TYPES[name]


def canonical(
    M: Matrix, a: Vector, b: Vector, reg: float, n_threads: int
) -> tuple[Problem, Support]:
    """Return the problem between rows and columns with mass, all of it scaled to one."""
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    support = Support(rows, columns, M.shape, shared_mass(a, b), M)
    if M.shape != (rows.size, columns.size):
        M = M[np.ix_(rows, columns)]
    M = forbidding(M, reg)
    sides = ((1, "row", rows), (0, "column", columns)) if M.max() == np.inf else ()
    for axis, side, index in sides:
        closed = np.flatnonzero(M.min(axis=axis) == np.inf)
        if closed.size:
            raise ValueError(
                f"M must leave each {side} with mass a finite cost: got only infinite costs in "
                f"{side} {index[closed[0]]}; make one finite or set its mass to zero"
            )
    return Problem(M, a[rows] / a.sum(), b[columns] / b.sum(), reg, n_threads), support


def start_of(potentials: tuple[ArrayLike, ArrayLike] | None, support: Support) -> Vector:
    """Return the start of g; f follows from it, since rows are exact at every iterate."""
    if potentials is None:
        return np.zeros(support.columns.size)
    if len(potentials) != 2:
        raise ValueError(f"potentials_init must be a pair (f, g): got {len(potentials)} items")
    f, g = (real_array(x, "potentials_init", 1) for x in potentials)
    if (f.size, g.size) != support.shape:
        raise ValueError(
            f"potentials_init must have lengths {support.shape}: got ({f.size}, {g.size})"
        )
    g = g[support.columns]
    return np.where(np.isfinite(g), g, 0.0)
