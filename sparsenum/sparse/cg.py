"""Preconditioned conjugate gradients for symmetric positive (semi)definite systems."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import real_array, whole
from sparsenum.sparse.formats import CSR
from sparsenum.sparse.products import spmv

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CGResult:
    """Where conjugate gradients stopped.

    Attributes
    ----------
    x : ndarray, shape (n,)
        The solution found.
    residual : float
        2-norm of b - A x, as the recurrence carries it.
    n_iter : int
        Products with A.
    converged : bool
        Whether the residual met the tolerance.
    """

    x: Vector
    residual: float
    n_iter: int
    converged: bool


def cg(
    A: CSR | Callable[[Vector], Vector],
    b: ArrayLike,
    *,
    diagonal: ArrayLike | None = None,
    rtol: float = 1e-8,
    max_iter: int | None = None,
) -> CGResult:
    """Solve A x = b for symmetric positive semidefinite A, starting from zero.

    Started from zero the iterates stay in the range of A, so a singular but consistent system is
    solved too. The solve ends early, with ``converged=False`` and the best direction so far, where
    A shows no positive curvature.

    Parameters
    ----------
    A : CSR or callable
        The matrix, or a function that returns A x for x of shape (n,).
    b : array_like, shape (n,)
        Right-hand side.
    diagonal : array_like, shape (n,), optional
        Positive diagonal of A (or any other scale); its inverse is the preconditioner (Jacobi).
    rtol : float, default 1e-8
        Stop when the 2-norm of the residual is at most `rtol` times that of `b`.
    max_iter : int, optional
        Cap on the products with A; 10 n by default.

    Returns
    -------
    CGResult
        Solution, residual, iterations and whether the tolerance was met. Cost O(n) and one
        product for each iteration.

    Raises
    ------
    ValueError
        If `diagonal` has another length than `b` or an entry that is not positive.

    References
    ----------
    .. [1] Saad, "Iterative Methods for Sparse Linear Systems", 2nd ed., 2003, Algorithm 9.1.
    """
    b = real_array(b, "b", 1)
    inverse = np.ones_like(b)
    if diagonal is not None:
        diagonal = real_array(diagonal, "diagonal", 1)
        if diagonal.shape != b.shape or not np.all(diagonal > 0):
            raise ValueError(f"diagonal must hold {b.size} positive numbers, one for each row of A")
        inverse = 1.0 / diagonal
    max_iter = 10 * b.size if max_iter is None else whole(max_iter, "max_iter")
    apply = (lambda v: spmv(A, v)) if isinstance(A, CSR) else A

    x = np.zeros_like(b)
    r = b.copy()
    z = inverse * r
    p = z.copy()
    rz = float(r @ z)
    residual = float(np.linalg.norm(r))
    goal = rtol * residual
    n_iter = 0
    while residual > goal and n_iter < max_iter:
        Ap = apply(p)
        n_iter += 1
        curvature = float(p @ Ap)
        if not curvature > 0.0:
            break
        alpha = rz / curvature
        x += alpha * p
        r -= alpha * Ap
        residual = float(np.linalg.norm(r))
        z = inverse * r
        rz, previous = float(r @ z), rz
        p *= rz / previous
        p += z
    return CGResult(x, residual, n_iter, residual <= goal)
