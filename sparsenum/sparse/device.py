"""Sparse matrices on a CUDA device: a `CSR` whose three arrays live there."""

from typing import Any

import numpy as np

from sparsenum import _cuda as device
from sparsenum.sparse import _cuda
from sparsenum.sparse.formats import CSR

Array = Any  # on the device
RANGES = 2 if device.SIMULATED else 256  # of rows, which are turned into columns side by side


def offsets(counts: Array) -> tuple[Array, int]:
    """Return where rows of so many entries begin, and how many entries there are in all."""
    indptr = device.empty(counts.size + 1, np.uint64)
    _cuda.offsets[device.ONE_BLOCK](counts, indptr)
    return indptr, int(indptr[counts.size])


def transpose(A: CSR) -> CSR:
    """Return A' by compressed rows, columns sorted; the same bits whenever it is called."""
    n, m = A.shape
    ranges = min(n, RANGES)
    cursor = device.to_device(np.zeros((ranges, m), np.uint32))
    totals, grid = device.empty(m, np.uint64), (ranges, device.THREADS)
    _cuda.count_columns[grid](A.indptr, A.indices, cursor)
    _cuda.start_columns[device.per_item(m)](cursor, totals)
    indptr, nnz = offsets(totals)
    indices, data = device.empty(nnz, np.uint32), device.empty(nnz, A.data.dtype)
    _cuda.fill_transpose[grid](A.indptr, A.indices, A.data, cursor, indptr, indices, data)
    return CSR(indptr, indices, data, (m, n))


def schur_cg(Q: CSR, weight: Array, b: Array, rtol: float, max_iter: int) -> tuple[Array, int]:
    """Solve (diag(weight) - Q'Q) x = b by conjugate gradients, all in one launch."""
    n, m = Q.shape
    t, grid = transpose(Q), device.in_step()
    x, work, y = device.empty(m), device.empty((4, m)), device.empty(n)
    parts, out = device.empty((3, grid[0])), device.empty(2)
    matrices = Q.indptr, Q.indices, Q.data, t.indptr, t.indices, t.data
    _cuda.schur_cg[grid](*matrices, weight, b, rtol, max_iter, x, work, y, parts, out)
    return x, int(out.copy_to_host()[0])
