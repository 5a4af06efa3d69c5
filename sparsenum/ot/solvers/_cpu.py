"""Kernels of Sinkhorn's method by scalings: the plan is diag(u) K diag(v), with K = exp(-M / reg).

Sums and products are in the precision of K (n, m).
"""

import numpy as np

from sparsenum._formulas import exp32_v1, highest_v1
from sparsenum._numba import kernel

__all__ = ["anneal_stage", "scaling_sweep"]


@kernel
def scaling_sweep(K, a, v, u, column_sums):
    """Set u = a / (K v) and add up the columns of diag(u) K, in one pass over K; one precision."""
    n, m = K.shape
    column_sums[:] = 0.0
    for i in range(n):
        total = K.dtype.type(0)
        for j in range(m):
            total += K[i, j] * v[j]
        u[i] = a[i] / total
        for j in range(m):
            column_sums[j] += u[i] * K[i, j]


@kernel
def anneal_stage(M, a, g, reg, K, top, u, column_sums):
    """Write K = exp((g - M - top) / reg) in float32, top (n,) the row maxima of g - M.

    Set u = a / (K 1) and add up the columns of diag(u) K: a Sinkhorn half step in the same pass.
    Differences are taken in float64, so the size of the cost does not matter, only its spread.
    """
    n, m = M.shape
    zero = np.float32(0)
    column_sums[:] = zero
    row = np.empty(m)
    for i in range(n):
        for j in range(m):
            row[j] = g[j] - M[i, j]
        best = highest_v1(row, 0, m)
        top[i] = best
        total = zero
        for j in range(m):
            x = np.float32((row[j] - best) / reg)
            K[i, j] = exp32_v1(x) if x > np.float32(-60) else zero
            total += K[i, j]
        u[i] = np.float32(a[i]) / total
        for j in range(m):
            column_sums[j] += u[i] * K[i, j]
