"""Kernels on compressed rows. Indices are unsigned: numba then drops its wrap-around branch."""

import math

import numpy as np

from sparsenum._numba import kernel

__all__ = [
    "count_above",
    "count_columns",
    "fill_above",
    "fill_transpose",
    "row_top_k",
    "rows_times_sparse",
    "schur_cg",
    "spmm",
    "spmv",
    "spmv_t",
]


@kernel
def count_above(A, threshold, indptr):
    """Write into indptr[1:] (n,) how many entries of each row of A (n, m) exceed threshold."""
    for i in range(A.shape[0]):
        count = 0
        for j in range(A.shape[1]):
            if abs(A[i, j]) > threshold:
                count += 1
        indptr[i + 1] = count


@kernel
def fill_above(A, threshold, indptr, indices, data):
    """Copy the entries of A (n, m) above threshold in absolute value into the CSR arrays."""
    for i in range(A.shape[0]):
        p = indptr[i]
        for j in range(A.shape[1]):
            if abs(A[i, j]) > threshold:
                indices[p] = j
                data[p] = A[i, j]
                p += np.uint64(1)


@kernel
def count_columns(indices, counts):
    """Add up how many entries each column has, in counts (m,)."""
    for p in range(indices.size):
        counts[indices[p]] += 1


@kernel
def fill_transpose(indptr, indices, data, cursor, t_indices, t_data):
    """Scatter a CSR matrix into its transpose; cursor (m,) holds the start of each new row."""
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            q = cursor[indices[p]]
            t_indices[q] = i
            t_data[q] = data[p]
            cursor[indices[p]] = q + np.uint64(1)


@kernel
def spmv(indptr, indices, data, x, y):
    """Write y = A x: x (m,), y (n,)."""
    for i in range(indptr.size - 1):
        total = y.dtype.type(0)
        for p in range(indptr[i], indptr[i + 1]):
            total += data[p] * x[indices[p]]
        y[i] = total


@kernel
def spmv_t(indptr, indices, data, y, x):
    """Add A' y to x: y (n,), x (m,)."""
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            x[indices[p]] += data[p] * y[i]


@kernel
def spmm(indptr, indices, data, X, Y):
    """Add A X to Y: X (m, b), Y (n, b); the columns of X are the vector lanes.

    Entries go by fours, so that a row of Y is read and written a quarter as often.
    """
    for i in range(indptr.size - 1):
        start, stop = np.int64(indptr[i]), np.int64(indptr[i + 1])
        rest = stop - (stop - start) % 4
        y = Y[i]
        for p in range(start, rest, 4):
            w0, w1, w2, w3 = data[p], data[p + 1], data[p + 2], data[p + 3]
            x0, x1 = X[indices[p]], X[indices[p + 1]]
            x2, x3 = X[indices[p + 2]], X[indices[p + 3]]
            for t in range(y.size):
                y[t] += (w0 * x0[t] + w1 * x1[t]) + (w2 * x2[t] + w3 * x3[t])
        for p in range(rest, stop):
            weight, x = data[p], X[indices[p]]
            for t in range(y.size):
                y[t] += weight * x[t]


@kernel
def rows_times_sparse(a_indptr, a_indices, a_data, b_indptr, b_indices, b_data, start, Y):
    """Add rows start..start+len(Y) of A B, both sparse, to the dense block Y."""
    for i in range(Y.shape[0]):
        for p in range(a_indptr[start + i], a_indptr[start + i + 1]):
            weight, row = a_data[p], a_indices[p]
            for q in range(b_indptr[row], b_indptr[row + np.uint32(1)]):
                Y[i, b_indices[q]] += weight * b_data[q]


@kernel
def schur_product(Q, Qt, weight, x, y):
    """Write y = (diag(weight) - Q'Q) x, Q and Qt as CSR triples; without Qt rows are scattered."""
    indptr, indices, data = Q
    Qx = np.empty(indptr.size - 1)
    for i in range(Qx.size):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += data[k] * x[indices[k]]
        Qx[i] = total
    if Qt is None:
        for j in range(y.size):
            y[j] = weight[j] * x[j]
        for i in range(Qx.size):
            for k in range(indptr[i], indptr[i + 1]):
                y[indices[k]] -= data[k] * Qx[i]
    else:
        t_indptr, t_indices, t_data = Qt
        for j in range(y.size):
            total = 0.0
            for k in range(t_indptr[j], t_indptr[j + 1]):
                total += t_data[k] * Qx[t_indices[k]]
            y[j] = weight[j] * x[j] - total


@kernel
def schur_cg(Q, Qt, weight, b, rtol, max_iter, x):
    """Solve (diag(weight) - Q'Q) x = b from zero by Jacobi-CG, with products by schur_product.

    Return the number of products and the residual over b, in the 1-norm or in the norm of the
    preconditioner, whichever is larger: the latter may be all in one loose unknown.
    """
    m = b.size
    x[:] = 0.0
    r = b.copy()
    p = np.empty(m)
    Ap = np.empty(m)
    inverse = np.zeros(m)
    for k in range(Q[1].size):
        inverse[Q[1][k]] += Q[2][k] * Q[2][k]
    rz = first_size = 0.0
    for j in range(m):
        # Rounding may leave nothing where a row holds all of its column.
        inverse[j] = 1.0 / max(weight[j] - inverse[j], 1e-14 * weight[j] + 1e-300)
        p[j] = inverse[j] * b[j]
        rz += b[j] * p[j]
        first_size += abs(b[j])
    first = rz
    residual = 1.0 if first > 0.0 else 0.0
    n_iter = 0
    while residual > rtol and n_iter < max_iter:
        schur_product(Q, Qt, weight, p, Ap)
        curvature = size = 0.0
        for j in range(m):
            curvature += p[j] * Ap[j]
            size += p[j] * weight[j] * p[j]
        n_iter += 1
        if not curvature > 1e-14 * size:  # the matrix is zero there but for rounding
            break
        alpha = rz / curvature
        previous = rz
        rz = size = 0.0
        for j in range(m):
            x[j] += alpha * p[j]
            r[j] -= alpha * Ap[j]
            rz += r[j] * r[j] * inverse[j]
            size += abs(r[j])
        beta = rz / previous
        residual = max(size / first_size, math.sqrt(rz / first))
        for j in range(m):
            p[j] = inverse[j] * r[j] + beta * p[j]
    return n_iter, residual


@kernel
def row_top_k(scores, indices, values):
    """Write the k largest scores (n, m) of each row, best first, ties to the lower column.

    What is NaN or minus infinity is never chosen; unused places keep what they held.
    """
    k = indices.shape[1]
    for i in range(scores.shape[0]):
        found = 0
        worst = -np.inf
        for j in range(scores.shape[1]):
            score = scores[i, j]
            if score > worst:
                place = found if found < k else k - 1
                while place > 0 and values[i, place - 1] < score:
                    values[i, place] = values[i, place - 1]
                    indices[i, place] = indices[i, place - 1]
                    place -= 1
                values[i, place] = score
                indices[i, place] = j
                if found < k:
                    found += 1
                if found == k:
                    worst = values[i, k - 1]
