"""Kernels of entropic optimal transport for CUDA, on a dense cost M (n, m) on the device.

As in `_cpu.py` P_ij = exp((f_i + g_j - M_ij) / reg), and an infinite cost gives an exact zero.
Rows are gone through by warps, columns by one thread each, side by side: all reads of M are
coalesced.
"""

import math

import numpy as np
from numba import cuda

from sparsenum._cuda import LANES, block_max, block_sum, kernel, lane_max, lane_rank, lane_sum

__all__ = [
    "add_up",
    "centre",
    "column_sums",
    "column_update",
    "corrected",
    "count_slack",
    "extent",
    "fill_cost",
    "moved",
    "newton_system",
    "plan",
    "row_sums",
    "row_update",
    "scaled_plan",
    "slacks",
    "summary",
    "take",
]

HALVINGS = 50  # of the range in which a median is looked for: it is then right to rounding


@kernel(
    "f8[:,::1], f8[::1], f8[::1], f8, f8[::1]",
    "f4[:,::1], f8[::1], f8[::1], f8, f8[::1]",
)
def row_update(M, a, g, reg, f):
    """Set f so that the rows of P sum to a."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, M.shape[0], cuda.gridsize(1) // LANES):
        top = -np.inf
        for j in range(lane, M.shape[1], LANES):
            top = max(top, g[j] - M[i, j])
        top = lane_max(top)
        total = 0.0
        for j in range(lane, M.shape[1], LANES):
            total += math.exp((g[j] - M[i, j] - top) / reg)
        total = lane_sum(total)
        if lane == 0:
            f[i] = reg * (math.log(a[i]) - math.log(total)) - top


@kernel(
    "f8[:,::1], f8[::1], f8[::1], f8, f8[:,::1]",
    "f4[:,::1], f8[::1], f8[::1], f8, f8[:,::1]",
)
def column_sums(M, f, g, reg, parts):
    """Write the column sums of P over each of the grid's ranges of rows, parts (ranges, m)."""
    n, m = M.shape
    share = (n + cuda.gridDim.y - 1) // cuda.gridDim.y
    first = cuda.blockIdx.y * share
    for j in range(cuda.grid(2)[0], m, cuda.gridsize(2)[0]):
        total = 0.0
        for i in range(first, min(first + share, n)):
            total += math.exp(min((f[i] + g[j] - M[i, j]) / reg, 0.0))
        parts[cuda.blockIdx.y, j] = total


@kernel("f8[:,::1], f8[::1]")
def add_up(parts, sums):
    """Add up the columns of parts (ranges, m), in order."""
    for j in range(cuda.grid(1), sums.size, cuda.gridsize(1)):
        total = 0.0
        for k in range(parts.shape[0]):
            total += parts[k, j]
        sums[j] = total


@kernel(
    "f8[:,::1], f8[::1], f8[::1], f8, f8[::1]",
    "f4[:,::1], f8[::1], f8[::1], f8, f8[::1]",
)
def row_sums(M, f, g, reg, sums):
    """Add up the rows of P as it stands."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, M.shape[0], cuda.gridsize(1) // LANES):
        total = 0.0
        for j in range(lane, M.shape[1], LANES):
            total += math.exp(min((f[i] + g[j] - M[i, j]) / reg, 0.0))
        total = lane_sum(total)
        if lane == 0:
            sums[i] = total


@kernel(
    "f8[:,::1], f8[::1], f8[::1], f8, f8[::1]",
    "f4[:,::1], f8[::1], f8[::1], f8, f8[::1]",
)
def column_update(M, b, f, reg, g):
    """Set g so that the columns of P sum to b, safe where a column of P has underflowed."""
    for j in range(cuda.grid(1), M.shape[1], cuda.gridsize(1)):
        top = -np.inf
        for i in range(M.shape[0]):
            top = max(top, f[i] - M[i, j])
        total = 0.0
        for i in range(M.shape[0]):
            total += math.exp((f[i] - M[i, j] - top) / reg)
        g[j] = reg * (math.log(b[j]) - math.log(total)) - top


@kernel("f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1]")
def summary(a, b, f, g, c, out):
    """Write |c - b|_1, the least of c, and the dual objective a.f + b.g, which judge a step."""
    error = value = 0.0
    least = np.inf
    for j in range(cuda.threadIdx.x, b.size, cuda.blockDim.x):
        error += abs(c[j] - b[j])
        least = min(least, c[j])
        value += b[j] * g[j]
    for i in range(cuda.threadIdx.x, a.size, cuda.blockDim.x):
        value += a[i] * f[i]
    error, least, value = block_sum(error), -block_max(-least), block_sum(value)
    if cuda.threadIdx.x == 0:
        out[0], out[1], out[2] = error, least, value


@kernel("f8[::1], f8[::1], f8[::1], f8, f8[::1]")
def corrected(g, b, c, reg, out):
    """Write potentials whose columns sum to b where those of g sum to c: a Sinkhorn half step."""
    for j in range(cuda.grid(1), g.size, cuda.gridsize(1)):
        out[j] = g[j] + reg * math.log(b[j] / c[j])


@kernel("f8[::1], f8[::1], f8, f8[::1]")
def moved(g, x, length, out):
    """Write g + length x."""
    for j in range(cuda.grid(1), g.size, cuda.gridsize(1)):
        out[j] = g[j] + length * x[j]


@kernel("f8[::1], f8[::1], f8, f8, f8[::1], f8[::1]")
def newton_system(b, c, damping, least, weight, rhs):
    """Write the diagonal and the right-hand side of the Newton system."""
    for j in range(cuda.grid(1), b.size, cuda.gridsize(1)):
        weight[j] = max(c[j], least) * (1.0 + damping)
        rhs[j] = b[j] - c[j]


@kernel("f8[::1], f8[::1], f8, f8[::1]")
def centre(x, rhs, cap, out):
    """Subtract from x its median, clip it at the cap, and write its reach before, and rhs.x."""
    low = high = x[0]
    for j in range(cuda.threadIdx.x, x.size, cuda.blockDim.x):
        low, high = min(low, x[j]), max(high, x[j])
    low, high = -block_max(-low), block_max(high)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        count = 0.0
        for j in range(cuda.threadIdx.x, x.size, cuda.blockDim.x):
            count += 1.0 if x[j] <= middle else 0.0
        if block_sum(count) > x.size // 2:
            high = middle
        else:
            low = middle
    reach = slope = 0.0
    for j in range(cuda.threadIdx.x, x.size, cuda.blockDim.x):
        step = x[j] - high
        reach = max(reach, abs(step))
        x[j] = min(max(step, -cap), cap)
        slope += rhs[j] * x[j]
    reach, slope = block_max(reach), block_sum(slope)
    if cuda.threadIdx.x == 0:
        out[0], out[1] = reach, slope


@kernel("f8[::1], f8, f8, f8, f8[::1]")
def slacks(mass, share, least, reg, out):
    """Write the slack M - f - g below which an entry of P exceeds a share of a mass."""
    for i in range(cuda.grid(1), mass.size, cuda.gridsize(1)):
        out[i] = -reg * math.log(share * max(mass[i], least))


@kernel(
    "f8[:,::1], f8[::1], f8[::1], f8[::1], f8[::1], u8[::1]",
    "f4[:,::1], f8[::1], f8[::1], f8[::1], f8[::1], u8[::1]",
)
def count_slack(M, f, g, row_slack, column_slack, counts):
    """Count each row's entries with M - f - g below its row's or its column's slack."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, M.shape[0], cuda.gridsize(1) // LANES):
        count = 0.0
        for j in range(lane, M.shape[1], LANES):
            if M[i, j] - f[i] - g[j] < max(row_slack[i], column_slack[j]):
                count += 1.0
        count = lane_sum(count)
        if lane == 0:
            counts[i] = np.uint64(count)


@kernel(
    "f8[:,::1], f8[::1], f8[::1], f8[::1], f8[::1], u8[::1], u4[::1], f8[::1]",
    "f4[:,::1], f8[::1], f8[::1], f8[::1], f8[::1], u8[::1], u4[::1], f8[::1]",
)
def fill_cost(M, f, g, row_slack, column_slack, indptr, indices, cost):
    """Write the costs of the entries that count_slack counted into CSR arrays, in their order."""
    lane = cuda.threadIdx.x % LANES
    m = M.shape[1]
    for i in range(cuda.grid(1) // LANES, M.shape[0], cuda.gridsize(1) // LANES):
        place = np.int64(indptr[i])
        for start in range(0, m, LANES):
            j = start + lane
            kept = False
            if j < m:
                kept = M[i, j] - f[i] - g[j] < max(row_slack[i], column_slack[j])
            before, all_of_them = lane_rank(kept, lane)
            if kept:
                indices[place + before] = j
                cost[place + before] = M[i, j]
            place += all_of_them


@kernel("u8[::1], u4[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8")
def scaled_plan(indptr, indices, entries, a, f, g, reg):
    """Turn costs on a support into the entries of P over the root of their row's mass."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, a.size, cuda.gridsize(1) // LANES):
        root = math.sqrt(a[i])
        for p in range(np.int64(indptr[i]) + lane, np.int64(indptr[i + 1]), LANES):
            x = (f[i] + g[indices[p]] - entries[p]) / reg
            entries[p] = math.exp(min(x, 0.0)) / root


@kernel(
    "f8[:,::1], f8[::1], f8[::1], f8, f8, f8[:,::1]",
    "f4[:,::1], f8[::1], f8[::1], f8, f8, f4[:,::1]",
)
def plan(M, f, g, reg, mass, P):
    """Write P (n, m) times a mass, in the precision of the cost."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, M.shape[0], cuda.gridsize(1) // LANES):
        for j in range(lane, M.shape[1], LANES):
            P[i, j] = mass * math.exp(min((f[i] + g[j] - M[i, j]) / reg, 0.0))


@kernel("f8[:,::1], f8[:,::1]", "f4[:,::1], f8[:,::1]")
def extent(M, parts):
    """Write each block's least and largest finite cost, and whether it has NaN and infinity."""
    low, high, bad, endless = np.inf, -np.inf, 0.0, 0.0
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, M.shape[0], cuda.gridsize(1) // LANES):
        for j in range(lane, M.shape[1], LANES):
            x = np.float64(M[i, j])
            if x != x:
                bad = 1.0
            elif x == np.inf:
                endless = 1.0
            else:
                low, high = min(low, x), max(high, x)
    low, high, bad, endless = -block_max(-low), block_max(high), block_max(bad), block_max(endless)
    if cuda.threadIdx.x == 0:
        k = cuda.blockIdx.x
        parts[k, 0], parts[k, 1], parts[k, 2], parts[k, 3] = low, high, bad, endless


@kernel(
    "f8[:,::1], i8[::1], i8[::1], f8[:,::1]",
    "f4[:,::1], i8[::1], i8[::1], f4[:,::1]",
)
def take(M, rows, columns, out):
    """Write some rows and columns of M."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, rows.size, cuda.gridsize(1) // LANES):
        for j in range(lane, columns.size, LANES):
            out[i, j] = M[rows[i], columns[j]]
