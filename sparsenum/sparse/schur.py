"""Schur complements of two-sided systems: diag(w) - Q'Q, solved by iteration or directly."""

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import real_array, whole
from sparsenum._device import Device, in_kind, on_cuda_with, operand
from sparsenum.sparse import _cpu
from sparsenum.sparse.cg import CGResult, Vector
from sparsenum.sparse.formats import CSR
from sparsenum.sparse.products import transpose

RIDGE = 1e-13  # added to the diagonal, scaled to one, so that a singular system has a factor
# A matrix with more non-zeros than this share, and no more unknowns than this, is factorised as a
# dense one; all others as sparse ones, on one thread and nearly without fill.
DENSE_SHARE, DENSE_MOST = 0.2, 4000
# Share of non-zeros from which scattering the rows of Q is as fast as gathering from a transpose,
# which costs as much as five products and the memory of Q again.
SCATTER_SHARE = 0.25


def schur_cg(
    Q: CSR,
    weight: ArrayLike,
    b: ArrayLike,
    *,
    rtol: float = 1e-8,
    max_iter: int | None = None,
    device: Device = "cpu",
) -> CGResult:
    """Solve (diag(weight) - Q'Q) x = b by conjugate gradients, without forming the matrix.

    This is the system that is left of [[I, Q], [Q', diag(weight)]] when the rows are eliminated:
    the Newton system of transport, or (with the sign of Q'Q turned by the caller's algebra) a
    bipartite Laplacian. Products gather from Q and its transpose in one compiled loop, without
    the transpose where a quarter of Q is filled; the preconditioner is the true diagonal.

    Parameters
    ----------
    Q : CSR, shape (n, m)
        Float64 matrix with ``Q'Q <= diag(weight)``.
    weight : array_like, shape (m,)
        Positive diagonal.
    b : array_like, shape (m,)
        Right-hand side.
    rtol : float, default 1e-8
        Stop when the residual has fallen to this share of `b`, both in the 1-norm and in the norm
        of the preconditioner.
    max_iter : int, optional
        Cap on the products; 10 m by default.
    device : {"cpu", "cuda"}, default "cpu"
        Where to compute; on a CUDA device all iterations are one launch. The solution stays there
        if `b` is there.

    Returns
    -------
    CGResult
        Solution, relative residual, iterations and whether the tolerance was met. Cost O(nnz) for
        the transpose and O(n + m + nnz) for each iteration.

    Raises
    ------
    ValueError
        If the lengths do not fit.

    See Also
    --------
    sparsenum.sparse.schur_direct : the same system by a factorisation.
    sparsenum.sparse.cg : any positive semidefinite operator.

    Examples
    --------
    >>> from sparsenum import sparse
    >>> Q = sparse.CSR.from_dense([[0.5, 0.5]])
    >>> sparse.schur_cg(Q, [1.0, 1.0], [1.0, 0.0]).x.round(6).tolist()
    [1.5, 0.5]
    """
    on_device = on_cuda_with(device, Q=Q, weight=weight, b=b)
    like = b
    weight, b = _sides(Q, weight, b, device)
    cap = 10 * b.size if max_iter is None else whole(max_iter, "max_iter")
    if on_device:
        from sparsenum.sparse import on_cuda

        x, residual, n_iter = on_cuda.schur_cg(Q.to(device), weight, b, float(rtol), cap)
        return CGResult(in_kind(x, like), residual, n_iter, residual <= rtol)
    x = np.empty_like(b)
    full = Q.nnz > SCATTER_SHARE * Q.shape[0] * Q.shape[1]
    Qt = None if full else transpose(Q).arrays
    n_iter, residual = _cpu.schur_cg(Q.arrays, Qt, weight, b, rtol, cap, x)
    return CGResult(x, residual, n_iter, residual <= rtol)


def schur_direct(Q: CSR, weight: ArrayLike, b: ArrayLike) -> Vector:
    """Solve (diag(weight) - Q'Q) x = b by a factorisation, for systems on which CG stalls.

    A relative ridge of 1e-13 makes the singular systems of disconnected supports solvable.

    Parameters
    ----------
    Q : CSR, shape (n, m)
        Float64 matrix with ``Q'Q <= diag(weight)``.
    weight, b : array_like, shape (m,)
        Positive diagonal and right-hand side.

    Returns
    -------
    ndarray, shape (m,)
        The solution. Sparse LU, or dense Cholesky, O(m^3), where a fifth of the matrix is filled.

    Raises
    ------
    ValueError
        If the lengths do not fit.
    numpy.linalg.LinAlgError
        If the matrix is singular even with the ridge.

    See Also
    --------
    sparsenum.sparse.schur_cg : the same system by conjugate gradients.

    Examples
    --------
    >>> from sparsenum import sparse
    >>> Q = sparse.CSR.from_dense([[0.5, 0.5]])
    >>> sparse.schur_direct(Q, [1.0, 1.0], [1.0, 0.0]).round(6).tolist()
    [1.5, 0.5]
    """
    weight, b = _sides(Q, weight, b)
    scale = 1.0 / np.sqrt(weight)
    scaled = Q.to_scipy()
    scaled.data = scaled.data * scale[Q.indices]
    product = scaled.T @ scaled
    if product.nnz > DENSE_SHARE * b.size**2 and b.size <= DENSE_MOST:
        from scipy.linalg import cho_factor, cho_solve

        S = -product.toarray()
        S[np.diag_indices_from(S)] += 1.0 + RIDGE
        y: Vector = cho_solve(cho_factor(S, overwrite_a=True), scale * b)
    else:
        from scipy.sparse import diags_array
        from scipy.sparse.linalg import splu

        S = (diags_array(np.full(b.size, 1.0 + RIDGE)) - product).tocsc()
        try:
            factor = splu(S, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        except RuntimeError as error:  # how SuperLU calls a singular matrix
            raise np.linalg.LinAlgError(str(error)) from None
        y = factor.solve(scale * b)
    return scale * y


def _sides(
    Q: CSR, weight: ArrayLike, b: ArrayLike, device: Device = "cpu"
) -> tuple[Vector, Vector]:
    read = real_array if device == "cpu" else operand
    weight, b = read(weight, "weight", 1, np.float64), read(b, "b", 1, np.float64)
    if not weight.size == b.size == Q.shape[1]:
        raise ValueError(
            f"weight and b must have one number for each of the {Q.shape[1]} columns of Q: got "
            f"{weight.size} and {b.size}"
        )
    return weight, b
