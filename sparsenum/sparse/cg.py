"""Preconditioned conjugate gradients for symmetric positive (semi)definite systems."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import real_array, whole
from sparsenum._device import Device, host, in_kind, on_cuda_with, operand
from sparsenum.sparse.formats import CSR
from sparsenum.sparse.products import spmv

Vector = NDArray[np.float64]

FLAT = 1e-14  # of the steepest curvature met: a direction in which A is zero but for rounding


@dataclass(frozen=True, slots=True)
class CGResult:
    """The result of conjugate gradients.

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

    See Also
    --------
    sparsenum.sparse.cg : which returns it.
    sparsenum.sparse.schur_cg : which returns it, too.

    Examples
    --------
    >>> from sparsenum import sparse
    >>> A = sparse.CSR.from_dense([[2.0, 1.0], [1.0, 3.0]])
    >>> result = sparse.cg(A, [3.0, 4.0])
    >>> result.converged, result.n_iter
    (True, 2)
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
    device: Device = "cpu",
) -> CGResult:
    """Solve A x = b for symmetric positive semidefinite A, starting from zero.

    Started from zero the iterates stay in the range of A, so a singular but consistent system is
    solved too. The solve ends early, with ``converged=False`` and the best direction so far, where
    A shows no positive curvature, or none that rounding could not have made.

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
    device : {"cpu", "cuda"}, default "cpu"
        Where to compute. On a CUDA device all iterations are one launch, which leaves no place for
        a function: `A` must be a CSR. The solution stays there if `b` is there.

    Returns
    -------
    CGResult
        Solution, residual, iterations and whether the tolerance was met. Cost O(n) and one
        product for each iteration.

    Raises
    ------
    TypeError
        If `A` is a function and `device` is "cuda".
    ValueError
        If `diagonal` has another length than `b` or an entry that is not positive.

    See Also
    --------
    sparsenum.sparse.schur_cg : the systems of transport, without an operator of one's own.

    References
    ----------
    .. [1] Saad, "Iterative Methods for Sparse Linear Systems", 2nd ed., 2003, Algorithm 9.1.

    Examples
    --------
    >>> from sparsenum import sparse
    >>> A = sparse.CSR.from_dense([[2.0, 1.0], [1.0, 3.0]])
    >>> sparse.cg(A, [3.0, 4.0]).x.round(6).tolist()
    [1.0, 1.0]
    """
    if on_cuda_with(device, A=A, b=b, diagonal=diagonal):
        return _on_cuda(A, b, diagonal, rtol, max_iter)
    b = real_array(b, "b", 1)
    inverse = _inverse(diagonal, b.size)
    max_iter = 10 * b.size if max_iter is None else whole(max_iter, "max_iter")
    apply = (lambda v: spmv(A, v)) if isinstance(A, CSR) else A

    x = np.zeros_like(b)
    r = b.copy()
    z = inverse * r
    p = z.copy()
    rz = float(r @ z)
    residual = float(np.linalg.norm(r))
    goal = rtol * residual
    steepest = 0.0
    n_iter = 0
    while residual > goal and n_iter < max_iter:
        Ap = apply(p)
        n_iter += 1
        curvature, size = float(p @ Ap), float(p @ (p / inverse)) or 1.0
        if not curvature > FLAT * steepest * size:
            break
        steepest = max(steepest, curvature / size)
        alpha = rz / curvature
        x += alpha * p
        r -= alpha * Ap
        residual = float(np.linalg.norm(r))
        z = inverse * r
        rz, previous = float(r @ z), rz
        p *= rz / previous
        p += z
    return CGResult(x, residual, n_iter, residual <= goal)


def _inverse(diagonal: ArrayLike | None, n: int) -> Vector:
    if diagonal is None:
        return np.ones(n)
    diagonal = real_array(diagonal, "diagonal", 1)
    if diagonal.size != n or not np.all(diagonal > 0):
        raise ValueError(f"diagonal must hold {n} positive numbers, one for each row of A")
    inverse: Vector = 1.0 / diagonal
    return inverse


def _on_cuda(
    A: CSR | Callable[[Vector], Vector],
    b: ArrayLike,
    diagonal: ArrayLike | None,
    rtol: float,
    max_iter: int | None,
) -> CGResult:
    from sparsenum.sparse import on_cuda

    if not isinstance(A, CSR):
        raise TypeError(f"A must be a CSR with device='cuda': got {type(A).__name__}")
    given = operand(b, "b", 1, np.float64)
    if A.shape != (given.size, given.size):
        raise ValueError(f"A must be square, with a row for each of b: got shape {A.shape}")
    inverse = operand(_inverse(host(diagonal), given.size), "diagonal", 1, np.float64)
    cap = 10 * given.size if max_iter is None else whole(max_iter, "max_iter")
    x, residual, n_iter, converged = on_cuda.cg(A.to("cuda"), given, inverse, float(rtol), cap)
    return CGResult(in_kind(x, b), residual, n_iter, converged)
