"""Constants on rows and columns of a cost, which float64 potentials could not carry along."""

import numpy as np

from sparsenum.ot.problems.dense import Matrix, Vector

Offsets = tuple[Vector, Vector]

EPS = float(np.finfo(np.float64).eps)
LOST = 1e-12  # share of an entry of the plan that the rounding of its exponent may cost
BLOCK = 2**18  # entries of a cost that are looked at together, about


def levelled(cost: Matrix, reg: float) -> tuple[Matrix, Offsets | None]:
    """Return a cost less what its rows and columns have at least, and how much that was.

    The plan does not change, and the potentials are left with the differences that it depends on.
    Where no digits are to be gained the cost is returned as it is, without offsets.
    """
    n, m = cost.shape
    rows = least_of(cost.min(axis=1))
    columns = np.full(m, np.inf)
    with np.errstate(over="ignore"):  # differences beyond float64 forbid a pair as infinity does
        for start in range(0, n, max(1, BLOCK // m)):
            block = slice(start, start + max(1, BLOCK // m))
            np.minimum(columns, (cost[block] - rows[block, None]).min(axis=0), out=columns)
        columns = least_of(columns)
        if EPS * float(np.abs(rows).max() + columns.max()) <= LOST * reg:
            return cost, None
        return (cost - rows[:, None]) - columns, (rows, columns)


def least_of(lowest: Vector) -> Vector:
    """Return what can be taken off: nothing where all pairs are forbidden."""
    return np.where(lowest < np.inf, lowest, 0.0).astype(np.float64)


def rows_levelled(cost: Matrix, reg: float) -> tuple[Matrix, Vector]:
    """Do the same with rows alone, for problems whose columns are to be found."""
    least = cost.min(axis=1).astype(np.float64)
    if EPS * float(np.abs(least).max()) <= LOST * reg:
        return cost, np.zeros(least.size)
    return cost - least[:, None], least
