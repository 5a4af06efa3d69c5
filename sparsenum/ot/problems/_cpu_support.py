"""Kernels of entropic optimal transport on a support: pairs by compressed rows (indptr, indices).

Each pair has a cost, and in P its entry of the plan exp((f_i + g_j - cost) / reg).
"""

import math

import numpy as np

from sparsenum._formulas import exp_or_zero_v1, highest_v1
from sparsenum._numba import kernel

__all__ = [
    "count_narrow",
    "count_strong",
    "fill_narrow",
    "fill_strong",
    "mark_columns",
    "relaxed_row_update",
    "support_plan",
]


@kernel
def count_narrow(indptr, indices, cost, f, g, width, narrow_indptr):
    """Count into narrow_indptr[1:] each row's entries of a support with cost - f - g < width."""
    for i in range(f.size):
        count = 0
        limit = f[i] + width
        for p in range(indptr[i], indptr[i + 1]):
            if cost[p] - g[indices[p]] < limit:
                count += 1
        narrow_indptr[i + 1] = count


@kernel
def fill_narrow(indptr, indices, cost, f, g, width, narrow_indptr, narrow_indices, narrow_cost):
    """Write the entries that count_narrow counted, as fill_cost does.

    No row ends early, so the arrays need one place more than they keep.
    """
    for i in range(f.size):
        q = narrow_indptr[i]
        limit = f[i] + width
        for p in range(indptr[i], indptr[i + 1]):
            narrow_indices[q] = indices[p]
            narrow_cost[q] = cost[p]
            q += np.uint64(cost[p] - g[indices[p]] < limit)


@kernel
def mark_columns(indices, taken):
    """Set taken[j] (m,) for each column j that has an entry."""
    for p in range(indices.size):
        taken[indices[p]] = True


@kernel
def support_plan(indptr, indices, cost, f, g, reg, P):
    """Write the entries of the plan on a support."""
    for i in range(f.size):
        for p in range(indptr[i], indptr[i + 1]):
            P[p] = exp_or_zero_v1(min((f[i] + g[indices[p]] - cost[p]) / reg, 0.0))


@kernel
def relaxed_row_update(indptr, indices, cost, a, g, reg, kappa, f, P, row_sums, column_sums):
    """Do what row_update does on a support, and keep the entries in P.

    Where a penalty rho holds the rows to a, and no constraint, the best f is reg log a less kappa
    times what the row lacks, kappa = rho / (rho + reg). A constraint has kappa 1.
    """
    column_sums[:] = 0.0
    for i in range(a.size):
        start, stop = indptr[i], indptr[i + 1]
        for p in range(start, stop):
            P[p] = (g[indices[p]] - cost[p]) / reg
        top = highest_v1(P, np.int64(start), np.int64(stop))
        total = 0.0
        for p in range(start, stop):
            P[p] = exp_or_zero_v1(P[p] - top)
            total += P[p]
        wanted, surplus = math.log(a[i]), top + math.log(total)
        f[i] = reg * (wanted - kappa * surplus)
        row_sums[i] = a[i] if kappa == 1.0 else math.exp(wanted + (1.0 - kappa) * surplus)
        share = row_sums[i] / total
        for p in range(start, stop):
            P[p] *= share
            column_sums[indices[p]] += P[p]


@kernel
def count_strong(indptr, indices, P, a, column_sums, drop, strong_indptr):
    """Count into strong_indptr[1:] the entries of P above the share drop of row or column."""
    for i in range(a.size):
        count = 0
        for p in range(indptr[i], indptr[i + 1]):
            if P[p] > drop * min(a[i], column_sums[indices[p]]):
                count += 1
        strong_indptr[i + 1] = count


@kernel
def fill_strong(indptr, indices, P, a, column_sums, drop, strong_indptr, strong_indices, strong):
    """Write the entries that count_strong counted, over the root of their row's mass.

    The indices need a spare place, as those of fill_narrow do. In place, with P for strong, is
    fine: no entry is written to a place that is still to be read.
    """
    for i in range(a.size):
        q = strong_indptr[i]
        root = math.sqrt(a[i])
        for p in range(indptr[i], indptr[i + 1]):
            strong_indices[q] = indices[p]
            entry = P[p]
            strong[q] = entry / root
            q += np.uint64(entry > drop * min(a[i], column_sums[indices[p]]))
