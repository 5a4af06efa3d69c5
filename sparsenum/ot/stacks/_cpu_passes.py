"""Kernels that pass over a stack of plans: costs M (B, n, m), potentials f (B, n) and g (B, m).

In each problem P_ij = exp((f_i + g_j - M_ij) / reg).
"""

import math

import numpy as np

from sparsenum._formulas import exp_or_zero_v1
from sparsenum._numba import kernel

__all__ = ["assess", "plans"]


@kernel
def assess(M, a, b, reg, f, g, sums):
    """Recompute the plans of a stack, and write their errors and values into sums (B, 5).

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
                x = min((f[k, i] + g[k, j] - M[k, i, j]) / reg[k], 0.0)
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
                x = (f[k, i] + g[k, j] - M[k, i, j]) / reg[k]
                P[k, i, j] = mass[k] * exp_or_zero_v1(min(x, 0.0))
