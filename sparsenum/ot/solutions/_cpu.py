"""Kernels of derivatives: a plan P, dense (n, m) or on a support, as a linear operator."""

import numpy as np

from sparsenum._numba import kernel

__all__ = [
    "plan_change",
    "schur_times",
    "support_change",
    "support_weighted_sums",
    "weighted_sums",
]


@kernel
def weighted_sums(P, weights, row_sums, column_sums):
    """Add up the rows and columns of P * weights, entry by entry."""
    n, m = P.shape
    column_sums[:] = 0.0
    row = np.empty(m)
    for i in range(n):
        total = 0.0
        for j in range(m):
            row[j] = P[i, j] * weights[i, j]
            total += row[j]
        row_sums[i] = total
        for j in range(m):
            column_sums[j] += row[j]


@kernel
def plan_change(P, z_f, z_g, weights, reg, change):
    """Write P_ij (z_f_i + z_g_j - weights_ij / reg)."""
    n, m = P.shape
    for i in range(n):
        for j in range(m):
            change[i, j] = P[i, j] * (z_f[i] + z_g[j] - weights[i, j] / reg)


@kernel
def schur_times(P, r, c, z, out):
    """Write (diag(c) - P' diag(1/r) P) z, reading P once."""
    n, m = P.shape
    for j in range(m):
        out[j] = c[j] * z[j]
    for i in range(n):
        total = 0.0
        for j in range(m):
            total += P[i, j] * z[j]
        total /= r[i]
        for j in range(m):
            out[j] -= P[i, j] * total


@kernel
def support_weighted_sums(indptr, indices, P, weights, row_sums, column_sums):
    """Do what weighted_sums does on a support; weights are dense."""
    column_sums[:] = 0.0
    for i in range(row_sums.size):
        total = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            x = P[p] * weights[i, indices[p]]
            total += x
            column_sums[indices[p]] += x
        row_sums[i] = total


@kernel
def support_change(indptr, indices, P, z_f, z_g, weights, reg, change):
    """Do what plan_change does on a support, into a dense matrix of zeros."""
    for i in range(z_f.size):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            change[i, j] = P[p] * (z_f[i] + z_g[j] - weights[i, j] / reg)
