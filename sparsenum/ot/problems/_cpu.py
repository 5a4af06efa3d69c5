"""Kernels of entropic optimal transport, on a dense cost M (n, m) and potentials f (n,), g (m,).

Everywhere P_ij = exp((f_i + g_j - M_ij) / reg). An infinite cost gives an exact zero. Masses sum
to one, so that no entry of a plan exceeds it; where rounding says so it is cut to one.
"""

import math

import numpy as np

from sparsenum._formulas import exp_or_zero_v1, highest_v1
from sparsenum._numba import kernel

__all__ = [
    "count_slack",
    "fill_cost",
    "plan",
    "plan_sums",
    "row_update",
    "scaled_plan",
]


@kernel
def row_update(M, a, g, reg, f, column_sums):
    """Set f so that the rows of P sum to a, and add up its columns, in one pass over M."""
    n, m = M.shape
    column_sums[:] = 0.0
    row = np.empty(m)
    for i in range(n):
        for j in range(m):
            row[j] = (g[j] - M[i, j]) / reg
        top = highest_v1(row, 0, m)
        total = 0.0
        for j in range(m):
            row[j] = exp_or_zero_v1(row[j] - top)
            total += row[j]
        f[i] = reg * (math.log(a[i]) - top - math.log(total))
        share = a[i] / total
        for j in range(m):
            column_sums[j] += share * row[j]


@kernel
def plan_sums(M, f, g, reg, row_sums, column_sums):
    """Add up the rows and columns of P as it stands: the check that every result goes through."""
    n, m = M.shape
    column_sums[:] = 0.0
    row = np.empty(m)
    for i in range(n):
        total = 0.0
        for j in range(m):
            row[j] = exp_or_zero_v1(min((f[i] + g[j] - M[i, j]) / reg, 0.0))
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
            P[i, j] = exp_or_zero_v1(min((f[i] + g[j] - M[i, j]) / reg, 0.0))


@kernel
def scaled_plan(M, a, f, g, reg, Q):
    """Write P_ij / sqrt(a_i) in the precision of Q (n, m)."""
    n, m = M.shape
    for i in range(n):
        root = math.sqrt(a[i])
        for j in range(m):
            Q[i, j] = exp_or_zero_v1(min((f[i] + g[j] - M[i, j]) / reg, 0.0)) / root


@kernel
def count_slack(M, f, g, row_slack, column_slack, indptr):
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
def fill_cost(M, f, g, row_slack, column_slack, indptr, indices, cost):
    """Write the costs of the entries that count_slack counted into CSR arrays.

    Each entry is written and then kept or overwritten, which spares a branch that nothing foresees.
    A row that has all its entries ends there, so blocks of rows may be filled at the same time.
    """
    n, m = M.shape
    for i in range(n):
        p = indptr[i]
        for j in range(m):
            if p == indptr[i + 1]:
                break
            indices[p] = j
            cost[p] = M[i, j]
            p += np.uint64(M[i, j] - f[i] - g[j] < max(row_slack[i], column_slack[j]))
