"""Sparse matrices on a CUDA device: a `CSR` whose three arrays live there."""

from typing import Any

import numpy as np

from sparsenum import _cuda as device
from sparsenum.sparse import _cuda
from sparsenum.sparse.formats import CSR, index_type

Array = Any  # on the device
# Ranges of rows, which are turned into columns side by side. Each holds a number for each column,
# so matrices with millions of columns are given fewer.
RANGES = 2 if device.SIMULATED else 256
CURSORS = 2**28


def offsets(counts: Array) -> tuple[Array, int]:
    """Return where rows of these lengths begin, and the sum of the lengths."""
    indptr = device.empty(counts.size + 1, np.uint64)
    _cuda.offsets[device.ONE_BLOCK](counts, indptr)
    return indptr, int(indptr[counts.size])


def transpose(A: CSR) -> CSR:
    """Return A' by compressed rows, columns sorted; the same bits whenever it is called."""
    n, m = A.shape
    ranges = max(1, min(n, RANGES, CURSORS // max(m, 1)))
    cursor = device.empty((ranges, max(m, 1)), np.uint32)
    totals, grid = device.empty(m, np.uint64), (ranges, device.THREADS)
    _cuda.count_columns[grid](A.indptr, A.indices, cursor)
    _cuda.start_columns[device.per_item(m)](cursor, totals)
    indptr, nnz = offsets(totals)
    indices = device.empty(nnz, np.promote_types(A.indices.dtype, index_type(n)))
    data = device.empty(nnz, A.data.dtype)
    _cuda.fill_transpose[grid](*A.arrays, cursor, indptr, indices, data)
    return CSR(indptr, indices, data, (m, n))


def spmv(A: CSR, x: Array) -> Array:
    """Return A x."""
    y = device.empty(A.shape[0], A.data.dtype)
    _cuda.spmv[device.per_row(A.shape[0])](*A.arrays, x, y)
    return y


def spmm(A: CSR, X: Array) -> Array:
    """Return A X."""
    shape = A.shape[0], X.shape[1]
    if A.nnz == 0 or X.size == 0:
        return device.to_device(np.zeros(shape, A.data.dtype))
    Y = device.empty(shape, A.data.dtype)
    _cuda.spmm[device.per_item(Y.size)](*A.arrays, X, Y)
    return Y


def cg(
    A: CSR, b: Array, inverse: Array, rtol: float, max_iter: int
) -> tuple[Array, float, int, bool]:
    """Solve A x = b by conjugate gradients preconditioned by `inverse`, all in one launch.

    Return x, the residual, the iterations and whether they converged.
    """
    n, grid = b.size, device.in_step(_cuda.cg)
    x, work = device.empty(n), device.empty((3, n))
    parts, out = device.empty((4, grid[0])), device.empty(3)
    _cuda.cg[grid](*A.arrays, inverse, b, rtol, max_iter, x, work, parts, out)
    n_iter, residual, converged = out.copy_to_host().tolist()
    return x, residual, int(n_iter), bool(converged)


def schur_cg(
    Q: CSR, weight: Array, b: Array, rtol: float, max_iter: int
) -> tuple[Array, float, int]:
    """Solve (diag(weight) - Q'Q) x = b by conjugate gradients, all in one launch.

    Return x, the relative residual and the iterations.
    """
    n, m = Q.shape
    t, grid = transpose(Q), device.in_step(_cuda.schur_cg)
    x, work, y = device.empty(m), device.empty((4, m)), device.empty(n)
    parts, out = device.empty((4, grid[0])), device.empty(2)
    _cuda.schur_cg[grid](*Q.arrays, *t.arrays, weight, b, rtol, max_iter, x, work, y, parts, out)
    n_iter, residual = out.copy_to_host().tolist()
    return x, residual, int(n_iter)


def row_top_k(scores: Array, k: int) -> tuple[Array, Array]:
    """Return columns and scores of the k best of each row."""
    n = scores.shape[0]
    indices, values = device.empty((n, k), np.uint32), device.empty((n, k), scores.dtype)
    _cuda.row_top_k[device.per_row(n)](scores, indices, values)
    return indices, values
