"""Kernels of entropic optimal transport, on a dense cost M (n, m) and potentials f (n,), g (m,).

Everywhere P_ij = exp((f_i + g_j - M_ij) / reg). An infinite cost gives an exact zero.
"""

import math

import numpy as np

from sparsenum._numba import formula, kernel

__all__ = [
    "column_update",
    "count_plan",
    "fill_plan",
    "plan",
    "plan_sums",
    "row_update",
    "scaling_sweep",
]


@formula
def exp_v1(x):
    """Return e^x for -700 <= x <= 0.3 within 4e-16, branch-free, so that loops vectorise."""
    k = np.int32(x * 1.4426950408889634 - 0.5)
    whole = np.float64(k)
    r = (x - whole * 6.93147180369123816490e-01) - whole * 1.90821492927058770002e-10
    p = 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    bits = np.int64((np.int64(k) + np.int64(1023)) << np.int64(52))
    return p * np.int64(bits).view(np.float64)


@formula
def exp_or_zero(x):
    """Return e^x for x <= 0.3, cut to zero below e^-600 so that no denormal number appears."""
    return exp_v1(x) if x > -600.0 else 0.0


@kernel
def row_update(M, a, g, reg, f, column_sums):
    """Set f so that the rows of P sum to a, and add up its columns, in one pass over M."""
    n, m = M.shape
    column_sums[:] = 0.0
    row = np.empty(m)
    for i in range(n):
        top = -np.inf
        for j in range(m):
            row[j] = (g[j] - M[i, j]) / reg
            top = max(top, row[j])
        total = 0.0
        for j in range(m):
            row[j] = exp_or_zero(row[j] - top)
            total += row[j]
        f[i] = reg * (math.log(a[i]) - top - math.log(total))
        share = a[i] / total
        for j in range(m):
            column_sums[j] += share * row[j]


@kernel
def column_update(M, b, f, reg, g):
    """Set g so that the columns of P sum to b, safe where a column of P has underflowed."""
    n, m = M.shape
    top = np.full(m, -np.inf)
    total = np.zeros(m)
    for i in range(n):
        for j in range(m):
            top[j] = max(top[j], (f[i] - M[i, j]) / reg)
    for i in range(n):
        for j in range(m):
            total[j] += exp_or_zero((f[i] - M[i, j]) / reg - top[j])
    for j in range(m):
        g[j] = reg * (math.log(b[j]) - top[j] - math.log(total[j]))


@kernel
def plan_sums(M, f, g, reg, row_sums, column_sums):
    """Add up the rows and columns of P as it stands: the check that every result goes through."""
    n, m = M.shape
    column_sums[:] = 0.0
    row = np.empty(m)
    for i in range(n):
        total = 0.0
        for j in range(m):
            row[j] = exp_or_zero((f[i] + g[j] - M[i, j]) / reg)
            total += row[j]
        row_sums[i] = total
        for j in range(m):
            column_sums[j] += row[j]


@kernel
def plan(M, f, g, reg, P):
    """Write P (n, m)."""
    n, m = M.shape
    for i in range(n):
        for j in range(m):
            P[i, j] = exp_or_zero((f[i] + g[j] - M[i, j]) / reg)


@kernel
def count_plan(M, f, g, row_slack, column_slack, indptr):
    """Count into indptr[1:] each row's entries with M - f - g below its row's or column's slack.

    No exponential is taken: P_ij > t is the same as M_ij - f_i - g_j < -reg log t.
    """
    n, m = M.shape
    for i in range(n):
        count = 0
        for j in range(m):
            if M[i, j] - f[i] - g[j] < max(row_slack[i], column_slack[j]):
                count += 1
        indptr[i + 1] = count


@kernel
def fill_plan(M, f, g, reg, row_slack, column_slack, indptr, indices, data):
    """Write the entries of P that count_plan counted into CSR arrays."""
    n, m = M.shape
    for i in range(n):
        p = indptr[i]
        for j in range(m):
            if M[i, j] - f[i] - g[j] < max(row_slack[i], column_slack[j]):
                indices[p] = j
                data[p] = exp_or_zero((f[i] + g[j] - M[i, j]) / reg)
                p += np.uint64(1)


@kernel
def scaling_sweep(K, a, v, u, column_sums):
    """Set u = a / (K v) and add up the columns of diag(u) K, in one pass over K."""
    n, m = K.shape
    column_sums[:] = 0.0
    for i in range(n):
        total = 0.0
        for j in range(m):
            total += K[i, j] * v[j]
        u[i] = a[i] / total
        for j in range(m):
            column_sums[j] += u[i] * K[i, j]
