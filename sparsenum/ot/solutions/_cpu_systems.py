"""Kernels of two-sided systems: what derivatives of small plans solve, each problem on its own."""

import numpy as np

from sparsenum._formulas import solve_laplacian_v1
from sparsenum._numba import kernel

__all__ = ["solve_systems"]


@kernel
def solve_system(P, e1, e2, y1, y2, z1, z2):
    """Solve one system by eliminating its rows, then its columns, which are a Laplacian."""
    n, m = P.shape
    W, leak, diagonal = np.zeros((m, m)), e2.copy(), np.empty(n)
    z2[:] = y2
    for i in range(n):
        total = e1[i]
        for j in range(m):
            total += P[i, j]
        diagonal[i] = total
        if total <= 0.0:
            continue
        held, pull = e1[i] / total, y1[i] / total
        for j in range(m):
            share = P[i, j] / total
            leak[j] += P[i, j] * held
            z2[j] -= P[i, j] * pull
            if share > 0.0:
                for k in range(j + 1, m):
                    W[j, k] += share * P[i, k]
    solve_laplacian_v1(W, leak, z2)
    for i in range(n):
        total = y1[i]
        for j in range(m):
            total -= P[i, j] * z2[j]
        z1[i] = total / diagonal[i] if diagonal[i] > 0.0 else 0.0


@kernel
def solve_systems(P, e1, e2, y1, y2, z1, z2):
    """Solve [[diag(P 1 + e1), P], [P', diag(P' 1 + e2)]] z = y for each P of a stack."""
    for k in range(P.shape[0]):
        if P.shape[1] < P.shape[2]:
            Q = np.ascontiguousarray(P[k].T)
            solve_system(Q, e2[k], e1[k], y2[k], y1[k], z2[k], z1[k])
        else:
            solve_system(P[k], e1[k], e2[k], y1[k], y2[k], z1[k], z2[k])
