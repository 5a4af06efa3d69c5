"""The linear systems that derivatives of plans take: symmetric, with a plan between two sides."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum._threads import by_rows
from sparsenum.ot.solutions import _cpu_systems
from sparsenum.ot.solutions.operator import operator_of

Array = NDArray[np.float64]

SMALL = 128 * 128  # entries of a plan up to which elimination beats conjugate gradients
PASSES = 16  # what an elimination costs at least, in passes over its matrix


def solve_two_sided(
    P: Any, e1: Any, e2: Any, y1: Any, y2: Any, n_threads: int = 1
) -> tuple[Array, Array]:
    """Solve [[diag(P 1 + e1), P], [P', diag(P' 1 + e2)]] z = y, for one plan or a stack of them.

    Where e1 and e2 are zero the system is singular along (1, -1), and y is taken to be orthogonal
    to that.
    """
    n, m = P.shape[-2:]
    shapes = (-1, n, m), (-1, n), (-1, m), (-1, n), (-1, m)
    arrays = [
        np.ascontiguousarray(x, np.float64).reshape(shape)
        for x, shape in zip((P, e1, e2, y1, y2), shapes, strict=True)
    ]
    z1, z2 = np.empty_like(arrays[3]), np.empty_like(arrays[4])
    if n * m > SMALL:
        for system in zip(*arrays, z1, z2, strict=True):
            _solve_large(*system)
    else:

        def work(block: slice) -> None:
            _cpu_systems.solve_systems(*(x[block] for x in (*arrays, z1, z2)))

        by_rows(work, (len(z1), PASSES * n * m), n_threads)
    return z1.reshape(np.shape(y1)), z2.reshape(np.shape(y2))


def _solve_large(
    P: Array, e1: Array, e2: Array, y1: Array, y2: Array, z1: Array, z2: Array
) -> None:
    """Solve one system between the rows and columns that have an entry."""
    r, c = P.sum(axis=1) + e1, P.sum(axis=0) + e2
    rows, columns = np.flatnonzero(r), np.flatnonzero(c)
    whole = rows.size == r.size and columns.size == c.size
    plan = operator_of(P if whole else P[np.ix_(rows, columns)])
    r, c = r[rows], c[columns]
    rhs = y2[columns] - plan.times_t(y1[rows] / r)
    if not (e1.any() or e2.any()):
        rhs -= rhs.mean()
    z1[:], z2[:] = 0.0, 0.0
    z2[columns] = plan.schur_solve(r, c, rhs)
    z1[rows] = (y1[rows] - plan.times(z2[columns])) / r
