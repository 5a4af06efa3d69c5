"""Kernels for CUDA that pass over a stack of problems, M (B, n, m), a (B, n) and b (B, m).

As in `_cpu_passes.py` P_ij = exp((f_i + g_j - M_ij) / reg). A block of threads takes a problem.
"""

import math

import numpy as np
from numba import cuda

from sparsenum._cuda import LANES, block_max, block_sum, kernel, lane_max, lane_sum

__all__ = ["assess", "find_sound", "plans"]


@kernel(
    "f8[:,:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[::1]",
    "f4[:,:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[::1]",
)
def find_sound(M, a, b, forbidden, sound):
    """Write 1 for the costs with numbers only and one not forbidden in each row with mass, else 0.

    And in each column.
    """
    lane = cuda.threadIdx.x % LANES
    n, m = M.shape[1:]
    for k in range(cuda.blockIdx.x, M.shape[0], cuda.gridDim.x):
        fault = 0.0
        for i in range(cuda.threadIdx.x // LANES, n, cuda.blockDim.x // LANES):
            low = np.inf
            for j in range(lane, m, LANES):
                if not M[k, i, j] > -np.inf:
                    fault = 1.0
                elif b[k, j] > 0.0:
                    low = min(low, M[k, i, j])
            low = -lane_max(-low)
            if a[k, i] > 0.0 and not low <= forbidden[k]:
                fault = 1.0
        for j in range(cuda.threadIdx.x, m, cuda.blockDim.x):
            low = np.inf
            for i in range(n):
                if a[k, i] > 0.0:
                    low = min(low, M[k, i, j])
            if b[k, j] > 0.0 and not low <= forbidden[k]:
                fault = 1.0
        fault = block_max(fault)
        if cuda.threadIdx.x == 0:
            sound[k] = 1.0 - fault


@kernel(
    "f8[:,:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[:,::1], f8[:,::1], f8[:,::1]",
    "f4[:,:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[:,::1], f8[:,::1], f8[:,::1]",
    per_processor=1,
)
def assess(M, a, b, reg, f, g, sums):
    """Recompute the plans of a stack, and write their errors and values into sums (B, 5).

    Error of both marginals, total of P, <P, M>, sum P log P, and sum P log (a b').
    """
    lane = cuda.threadIdx.x % LANES
    n, m = M.shape[1:]
    for k in range(cuda.blockIdx.x, M.shape[0], cuda.gridDim.x):
        error = mass = linear = entropy = reference = 0.0
        for i in range(cuda.threadIdx.x // LANES, n, cuda.blockDim.x // LANES):
            total = 0.0
            for j in range(lane, m, LANES):
                x = min((f[k, i] + g[k, j] - M[k, i, j]) / reg[k], 0.0)
                p = math.exp(x)
                if p > 0.0:
                    total += p
                    linear += p * M[k, i, j]
                    entropy += p * x
            total = lane_sum(total)
            if lane == 0:
                error += abs(total - a[k, i])
                mass += total
                reference += total * math.log(a[k, i]) if a[k, i] > 0.0 else 0.0
        for j in range(cuda.threadIdx.x, m, cuda.blockDim.x):
            total = 0.0
            for i in range(n):
                total += math.exp(min((f[k, i] + g[k, j] - M[k, i, j]) / reg[k], 0.0))
            error += abs(total - b[k, j])
            reference += total * math.log(b[k, j]) if b[k, j] > 0.0 else 0.0
        error, mass, linear = block_sum(error), block_sum(mass), block_sum(linear)
        entropy, reference = block_sum(entropy), block_sum(reference)
        if cuda.threadIdx.x == 0:
            sums[k, 0], sums[k, 1], sums[k, 2] = error, mass, linear
            sums[k, 3], sums[k, 4] = entropy, reference


@kernel(
    "f8[:,:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[::1], f8[:,:,::1]",
    "f4[:,:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[::1], f4[:,:,::1]",
)
def plans(M, f, g, reg, mass, P):
    """Write the plans of a stack, P (B, n, m), each times its mass, in the precision of M."""
    n, m = M.shape[1:]
    for row in range(cuda.grid(1) // LANES, M.shape[0] * n, cuda.gridsize(1) // LANES):
        k, i = row // n, row % n
        for j in range(cuda.threadIdx.x % LANES, m, LANES):
            P[k, i, j] = mass[k] * math.exp(min((f[k, i] + g[k, j] - M[k, i, j]) / reg[k], 0.0))
