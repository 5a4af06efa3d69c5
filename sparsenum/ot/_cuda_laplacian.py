"""The Newton system of a small transport problem for CUDA: a Laplacian, solved by one block.

Columns are few; each warp goes through rows of its own, its lanes through the columns.
"""

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


@part
def newton_system(P, inverse, b, c, damping, W, n, m):
    """Write P' diag(1/a) P above the diagonal of W (m + GROUP - 1, m + 2), leak and right side.

    These two are the last columns, and the last rows take what a group of rows has too many.
    """
    lane, warp = thread() % LANES, thread() // LANES
    chunks, last = (m + LANES - 1) // LANES, m - 1
    for task in range(warp, (m + GROUP - 1) // GROUP * chunks, WARPS):
        j, k = task // chunks * GROUP, task % chunks * LANES + lane
        if j < k < m:
            j1, j2, j3 = min(j + 1, last), min(j + 2, last), min(j + 3, last)
            w0 = w1 = w2 = w3 = 0.0
            for i in range(n):
                p = P[i, k] * inverse[i]
                w0 += p * P[i, j]
                w1 += p * P[i, j1]
                w2 += p * P[i, j2]
                w3 += p * P[i, j3]
            W[j, k], W[j + 1, k], W[j + 2, k], W[j + 3, k] = w0, w1, w2, w3
    for j in range(thread(), m, THREADS):
        W[j, m], W[j, m + 1] = damping * c[j], b[j] - c[j]
    cuda.syncthreads()


@part
def solve_laplacian(W, x, m):
    """Put into x the solution of (diag(W 1 + leak) - W) x = rhs, for weights above W's diagonal.

    Elimination adds to weights and leaks, in place: a diagonal is their sum, never a difference,
    so no digits cancel however weakly the graph hangs together (Grassmann, Taksar, Heyman 1985).
    It ends up on W's own. A lane goes back through columns of its own: none waits for another.
    """
    lane, warp = thread() % LANES, thread() // LANES
    for k in range(m):
        total = 0.0
        for j in range(k + 1 + lane, m + 1, LANES):
            total += W[k, j]
        total = lane_sum(total)
        if thread() == 0:
            W[k, k] = total
        if total > 0.0:
            for i in range(k + 1 + GROUP * warp, m, GROUP * WARPS):
                s0, s1 = W[k, i] / total, W[k, i + 1] / total
                s2, s3 = W[k, min(i + 2, m)] / total, W[k, min(i + 3, m)] / total
                for j in range(i + 1 + lane, m + 2, LANES):
                    w = W[k, j]
                    w0, w1, w2, w3 = W[i, j], W[i + 1, j], W[i + 2, j], W[i + 3, j]
                    W[i, j], W[i + 1, j] = w0 + s0 * w, w1 + s1 * w
                    W[i + 2, j], W[i + 3, j] = w2 + s2 * w, w3 + s3 * w
        cuda.syncthreads()
    if warp == 0:
        for k in range(m - 1, -1, -1):
            total = 0.0
            for j in range(lane, m, LANES):
                total += W[k, j] * x[j] if j > k else 0.0
            total = lane_sum(total) + W[k, m + 1]
            if k % LANES == lane:
                x[k] = total / W[k, k] if W[k, k] > 0.0 else 0.0
    cuda.syncthreads()


@part
def centre(x, cap, ranked, m):
    """Subtract from x its median and clip it at the cap; return its reach before."""
    for j in range(thread(), m, THREADS):
        rank = 0
        for i in range(m):
            rank += 1 if x[i] < x[j] or (x[i] == x[j] and i < j) else 0
        ranked[rank] = x[j]
    cuda.syncthreads()
    median = 0.5 * (ranked[(m - 1) // 2] + ranked[m // 2])
    reach = 0.0
    for j in range(thread() % LANES, m, LANES):
        reach = max(reach, abs(x[j] - median))
    cuda.syncthreads()
    for j in range(thread(), m, THREADS):
        x[j] = min(max(x[j] - median, -cap), cap)
    cuda.syncthreads()
    return lane_max(reach)
