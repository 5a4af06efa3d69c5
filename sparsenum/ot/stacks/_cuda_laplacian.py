"""The Newton system of a small transport problem for CUDA: a Laplacian, solved by one block.

Columns are few; each warp goes through rows of its own, its lanes through the columns.
"""

import numpy as np
from numba import cuda

from sparsenum._cuda import LANES, THREADS, formula, lane_max, lane_sum, part

__all__ = [
    "GROUP",
    "centre",
    "every",
    "indices",
    "lanes",
    "newton_system",
    "solve_laplacian",
    "thread",
    "threads",
    "warps",
]

WARPS = THREADS // LANES
GROUP = 4  # rows that a warp works on at once, for it to wait for memory less often


@formula
def thread():
    """Return the thread's number in its block, as an unsigned number.

    The compiler then leaves out what an index from the end of an array would need.
    """
    return cuda.threadIdx.x & (THREADS - 1)


# Indices. An index that may be negative counts from the end of its array, which costs registers to
# find out at each use: unsigned, it may not. A sum of an unsigned and a signed one is a float.


@formula
def indices(start, stop, step):
    """Return a range of indices."""
    return range(np.uint64(start), np.uint64(stop), np.uint64(step))


@formula
def every(size):
    """Return all indices below the size."""
    return indices(0, size, 1)


@formula
def lanes(size):
    """Return a lane's share of the indices below the size."""
    return indices(thread() % LANES, size, LANES)


@formula
def warps(size):
    """Return a warp's share of the indices below the size."""
    return indices(thread() // LANES, size, WARPS)


@formula
def threads(size):
    """Return a thread's share of the indices below the size."""
    return indices(thread(), size, THREADS)


@formula
def group(first, last):
    """Return the indices of a group from the first on, none above the last."""
    i, j, k = min(first + 1, last), min(first + 2, last), min(first + 3, last)
    return np.uint64(first), np.uint64(i), np.uint64(j), np.uint64(k)


# The system


@part
def newton_system(P, inverse, b, c, damping, W, shape):
    """Write P' diag(1/a) P above the diagonal of W (m + GROUP - 1, m + 2), leak and right side.

    These two are the last columns, and the last rows take what a group of rows has too many.
    """
    n, m = shape[0], shape[1]
    lane, warp, chunks = thread() % LANES, thread() // LANES, (m + LANES - 1) // LANES
    for task in range(warp, (m + GROUP - 1) // GROUP * chunks, WARPS):
        first, k = task // chunks * GROUP, np.uint64(task % chunks * LANES + lane)
        if first < k < m:
            j0, j1, j2, j3 = group(first, m - 1)
            w0 = w1 = w2 = w3 = 0.0
            for i in every(n):
                p = P[i, k] * inverse[i]
                w0 += p * P[i, j0]
                w1 += p * P[i, j1]
                w2 += p * P[i, j2]
                w3 += p * P[i, j3]
            j0, j1, j2, j3 = group(first, m + GROUP)
            W[j0, k], W[j1, k], W[j2, k], W[j3, k] = w0, w1, w2, w3
    for j in threads(m):
        W[j, m], W[j, m + 1] = damping * c[j], b[j] - c[j]
    cuda.syncthreads()


@part
def solve_laplacian(W, x, shape):
    """Put into x the solution of (diag(W 1 + leak) - W) x = rhs, for weights above W's diagonal.

    Elimination adds to weights and leaks, in place: a diagonal is their sum, never a difference,
    so no digits cancel however weakly the graph hangs together (Grassmann, Taksar, Heyman 1985).
    It ends up on W's own. A lane goes back through columns of its own: none waits for another.
    """
    lane, warp, m = thread() % LANES, thread() // LANES, shape[1]
    for k in every(m):
        after, total = np.int64(k) + 1, 0.0
        for j in indices(after + lane, m + 1, LANES):
            total += W[k, j]
        total = lane_sum(total)
        if thread() == 0:
            W[k, k] = total
        if total > 0.0:
            for first in range(after + GROUP * warp, m, GROUP * WARPS):
                j0, j1, j2, j3 = group(first, m)
                s0, s1, s2, s3 = W[k, j0], W[k, j1], W[k, j2], W[k, j3]
                s0, s1, s2, s3 = s0 / total, s1 / total, s2 / total, s3 / total
                i0, i1, i2, i3 = group(first, m + GROUP)
                for j in indices(first + 1 + lane, m + 2, LANES):
                    w = W[k, j]
                    w0, w1, w2, w3 = W[i0, j], W[i1, j], W[i2, j], W[i3, j]
                    W[i0, j], W[i1, j] = w0 + s0 * w, w1 + s1 * w
                    W[i2, j], W[i3, j] = w2 + s2 * w, w3 + s3 * w
        cuda.syncthreads()
    if warp == 0:
        for k in range(m - 1, -1, -1):
            total = 0.0
            for j in lanes(m):
                total += W[k, j] * x[j] if j > k else 0.0
            total = lane_sum(total) + W[k, m + 1]
            if k % LANES == lane:
                x[k] = total / W[k, k] if W[k, k] > 0.0 else 0.0
    cuda.syncthreads()


@part
def centre(x, cap, ranked, shape):
    """Subtract from x its median and clip it at the cap; return its reach before."""
    m = shape[1]
    for j in threads(m):
        rank = 0
        for i in every(m):
            rank += 1 if x[i] < x[j] or (x[i] == x[j] and i < j) else 0
        ranked[rank] = x[j]
    cuda.syncthreads()
    median = 0.5 * (ranked[(m - 1) // 2] + ranked[m // 2])
    reach = 0.0
    for j in lanes(m):
        reach = max(reach, abs(x[j] - median))
    cuda.syncthreads()
    for j in threads(m):
        x[j] = min(max(x[j] - median, -cap), cap)
    cuda.syncthreads()
    return lane_max(reach)
