"""Kernels of entropic optimal transport, on a dense cost M (n, m) and potentials f (n,), g (m,).

Everywhere P_ij = exp((f_i + g_j - M_ij) / reg). An infinite cost gives an exact zero.
"""

import math

import numpy as np

from sparsenum._formulas import exp32_v1, exp_or_zero_v1, highest_v1
from sparsenum._numba import kernel

__all__ = [
    "anneal_stage",
    "assess",
    "count_narrow",
    "count_slack",
    "count_strong",
    "fill_cost",
    "fill_narrow",
    "fill_strong",
    "mark_columns",
    "plan",
    "plan_sums",
    "plans",
    "relaxed_row_update",
    "row_update",
    "scaled_plan",
    "scaling_sweep",
    "support_plan",
    "support_row_update",
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
            row[j] = exp_or_zero_v1((f[i] + g[j] - M[i, j]) / reg)
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
            P[i, j] = exp_or_zero_v1((f[i] + g[j] - M[i, j]) / reg)


@kernel
def assess(M, a, b, reg, f, g, sums):
    """Recompute the plans of a stack, and write what their sums say into sums (B, 5).

    Error of both marginals, total of P, <P, M>, sum P log P, and sum P log (a b').
    """
    B, n, m = M.shape
    c, row = np.empty(m), np.empty(m)
    for k in range(B):
        error = mass = linear = entropy = reference = 0.0
        c[:] = 0.0
        for i in range(n):
            total = 0.0
            for j in range(m):
                x = (f[k, i] + g[k, j] - M[k, i, j]) / reg[k]
                row[j] = exp_or_zero_v1(x)
                total += row[j]
                linear += row[j] * M[k, i, j] if row[j] > 0.0 else 0.0
                entropy += row[j] * x if row[j] > 0.0 else 0.0
            for j in range(m):
                c[j] += row[j]
            error += abs(total - a[k, i])
            mass += total
            reference += total * math.log(a[k, i]) if a[k, i] > 0.0 else 0.0
        for j in range(m):
            error += abs(c[j] - b[k, j])
            reference += c[j] * math.log(b[k, j]) if b[k, j] > 0.0 else 0.0
        sums[k, 0], sums[k, 1], sums[k, 2] = error, mass, linear
        sums[k, 3], sums[k, 4] = entropy, reference


@kernel
def plans(M, f, g, reg, mass, P):
    """Write the plans of a stack, P (B, n, m), each times its mass."""
    B, n, m = M.shape
    for k in range(B):
        for i in range(n):
            for j in range(m):
                P[k, i, j] = mass[k] * exp_or_zero_v1((f[k, i] + g[k, j] - M[k, i, j]) / reg[k])


@kernel
def scaled_plan(M, a, f, g, reg, Q):
    """Write P_ij / sqrt(a_i) in the precision of Q (n, m)."""
    n, m = M.shape
    for i in range(n):
        root = math.sqrt(a[i])
        for j in range(m):
            Q[i, j] = exp_or_zero_v1((f[i] + g[j] - M[i, j]) / reg) / root


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
            P[p] = exp_or_zero_v1((f[i] + g[indices[p]] - cost[p]) / reg)


@kernel
def support_row_update(indptr, indices, cost, a, g, reg, f, P, column_sums):
    """Do what row_update does on a support, and keep the entries in P."""
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
        f[i] = reg * (math.log(a[i]) - top - math.log(total))
        share = a[i] / total
        for p in range(start, stop):
            P[p] *= share
            column_sums[indices[p]] += P[p]


@kernel
def relaxed_row_update(indptr, indices, cost, a, g, reg, kappa, f, P, row_sums, column_sums):
    """Do what support_row_update does where a penalty holds the rows to a, not a constraint.

    With kappa = rho / (rho + reg) the best f is reg log a less kappa times what the row lacks.
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
        surplus = top + math.log(total)
        f[i] = reg * (math.log(a[i]) - kappa * surplus)
        row_sums[i] = a[i] * math.exp((1.0 - kappa) * surplus)
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
