"""The Newton system of a small transport problem for CUDA: a Laplacian, solved by one block.

Columns are few; each warp goes through rows of its own, its lanes through the columns.
"""

import numpy as np
from numba import cuda

from sparsenum._cuda import LANES, THREADS, formula, lane_max, lane_sum

__all__ = ["GROUP", "centre", "newton_system", "part", "solve_laplacian", "thread"]

WARPS = THREADS // LANES
GROUP = 4  # rows that a warp works on at once, for it to wait for memory less often


def part(function):
    """Make a function that kernels call, compiled once however often they do.

    Where it is inlined is left to the last compiler: numba's own would take five times as long.
    """
    return cuda.jit(device=True, inline="never")(function)


@formula
def thread():
    """Return the thread's number in its block, in words that say it is not negative.

    The compiler then leaves out what an index from the end of an array would need.
    """
    return cuda.threadIdx.x & (THREADS - 1)


ONE, TWO, THREE = np.uint64(1), np.uint64(2), np.uint64(3)


@formula
def stride(start, stop, step):
    """Return a range whose numbers are not negative for the compiler, too."""
    return range(np.uint64(start), np.uint64(stop), np.uint64(step))


@formula
def every(size):
    """Return all of range(size), which is not negative for the compiler, too."""
    return range(np.uint64(0), np.uint64(size), np.uint64(1))


@formula
def lanes(size):
    """Return a lane's share of range(size)."""
    return range(np.uint64(thread() % LANES), np.uint64(size), np.uint64(LANES))


@formula
def warps(size):
    """Return a warp's share of range(size)."""
    return range(np.uint64(thread() // LANES), np.uint64(size), np.uint64(WARPS))


@formula
def threads(size):
    """Return a thread's share of range(size)."""
    return range(np.uint64(thread()), np.uint64(size), np.uint64(THREADS))


@part
def newton_system(P, inverse, b, c, damping, W, shape):
    """Write P' diag(1/a) P above the diagonal of W (m + GROUP - 1, m + 2), leak and right side.

    These two are the last columns, and the last rows take what a group of rows has too many.
    """
    n, m = shape[0], shape[1]
    chunks, last = (m + LANES - 1) // LANES, m - 1
    for task in range(thread() // LANES, (m + GROUP - 1) // GROUP * chunks, WARPS):
        first, k = task // chunks * GROUP, np.uint64(task % chunks * LANES + thread() % LANES)
        if first < k < m:
            j, j1 = np.uint64(first), np.uint64(min(first + 1, last))
            j2, j3 = np.uint64(min(first + 2, last)), np.uint64(min(first + 3, last))
            w0 = w1 = w2 = w3 = 0.0
            for i in every(n):
                p = P[i, k] * inverse[i]
                w0 += p * P[i, j]
                w1 += p * P[i, j1]
                w2 += p * P[i, j2]
                w3 += p * P[i, j3]
            W[j, k], W[np.uint64(first + 1), k] = w0, w1
            W[np.uint64(first + 2), k], W[np.uint64(first + 3), k] = w2, w3
    for j in threads(m):
        W[j, np.uint64(m)], W[j, np.uint64(m + 1)] = damping * c[j], b[j] - c[j]
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
        for j in stride(after + lane, m + 1, LANES):
            total += W[k, j]
        total = lane_sum(total)
        if thread() == 0:
            W[k, k] = total
        if total > 0.0:
            for i in stride(after + GROUP * warp, m, GROUP * WARPS):
                i1, i2, i3 = i + ONE, i + TWO, i + THREE
                s0, s1 = W[k, i] / total, W[k, i1] / total
                s2, s3 = W[k, min(i2, np.uint64(m))] / total, W[k, min(i3, np.uint64(m))] / total
                for j in stride(np.int64(i1) + lane, m + 2, LANES):
                    w = W[k, j]
                    w0, w1, w2, w3 = W[i, j], W[i1, j], W[i2, j], W[i3, j]
                    W[i, j], W[i1, j] = w0 + s0 * w, w1 + s1 * w
                    W[i2, j], W[i3, j] = w2 + s2 * w, w3 + s3 * w
        cuda.syncthreads()
    if warp == 0:
        for back in range(m - 1, -1, -1):
            k = np.uint64(back)
            total = 0.0
            for j in lanes(m):
                total += W[k, j] * x[j] if j > k else 0.0
            total = lane_sum(total) + W[k, np.uint64(m + 1)]
            if back % LANES == lane:
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
        ranked[np.uint64(rank)] = x[j]
    cuda.syncthreads()
    median = 0.5 * (ranked[np.uint64((m - 1) // 2)] + ranked[np.uint64(m // 2)])
    reach = 0.0
    for j in lanes(m):
        reach = max(reach, abs(x[j] - median))
    cuda.syncthreads()
    for j in threads(m):
        x[j] = min(max(x[j] - median, -cap), cap)
    cuda.syncthreads()
    return lane_max(reach)
