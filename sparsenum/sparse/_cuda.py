"""Kernels on compressed rows for CUDA."""

import math

import numpy as np
from numba import cuda

from sparsenum._cuda import LANES, THREADS, block_sum, formula, kernel, lane_sum

__all__ = ["count_columns", "fill_transpose", "offsets", "schur_cg", "start_columns"]


@kernel("u8[::1], u8[::1]")
def offsets(counts, indptr):
    """Write where each row begins: sums of the counts before it, and at last of all."""
    share = (counts.size + cuda.blockDim.x - 1) // cuda.blockDim.x
    first = min(cuda.threadIdx.x * share, counts.size)
    stop = min(first + share, counts.size)
    before = cuda.shared.array(THREADS, np.uint64)
    total = np.uint64(0)
    for i in range(first, stop):
        total += counts[i]
    before[cuda.threadIdx.x] = total
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        total = np.uint64(0)
        for t in range(cuda.blockDim.x):
            total, before[t] = total + before[t], total
        indptr[counts.size] = total
    cuda.syncthreads()
    total = before[cuda.threadIdx.x]
    for i in range(first, stop):
        indptr[i] = total
        total += counts[i]


@kernel("u8[::1], u4[::1], u4[:,::1]")
def count_columns(indptr, indices, counts):
    """Count each column's entries in the block's range of rows, counts (blocks, m) of zeros."""
    n = indptr.size - 1
    share = (n + cuda.gridDim.x - 1) // cuda.gridDim.x
    first = min(cuda.blockIdx.x * share, n)
    start, stop = np.int64(indptr[first]), np.int64(indptr[min(first + share, n)])
    for p in range(start + cuda.threadIdx.x, stop, cuda.blockDim.x):
        cuda.atomic.add(counts, (cuda.blockIdx.x, indices[p]), 1)


@kernel("u4[:,::1], u8[::1]")
def start_columns(counts, totals):
    """Turn counts into where each range of rows begins within a column; write the totals."""
    for j in range(cuda.grid(1), totals.size, cuda.gridsize(1)):
        total = 0
        for k in range(counts.shape[0]):
            here = counts[k, j]
            counts[k, j] = total
            total += here
        totals[j] = total


@kernel("u8[::1], u4[::1], f8[::1], u4[:,::1], u8[::1], u4[::1], f8[::1]")
def fill_transpose(indptr, indices, data, cursor, t_indptr, t_indices, t_data):
    """Scatter a CSR matrix into its transpose, each block a range of rows in their order.

    A row has each column once, so its entries go to places of their own at the same time.
    """
    n = indptr.size - 1
    share = (n + cuda.gridDim.x - 1) // cuda.gridDim.x
    first = cuda.blockIdx.x * share
    for i in range(first, min(first + share, n)):
        start, stop = np.int64(indptr[i]), np.int64(indptr[i + 1])
        for p in range(start + cuda.threadIdx.x, stop, cuda.blockDim.x):
            j = indices[p]
            place = np.int64(t_indptr[j]) + np.int64(cursor[cuda.blockIdx.x, j])
            cursor[cuda.blockIdx.x, j] += 1
            t_indices[place] = i
            t_data[place] = data[p]
        cuda.syncthreads()


@formula
def grid_sum(x, parts, grid):
    """Return the sum of x over all blocks, to all of them; parts has a place for each."""
    x = block_sum(x)
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = x
    grid.sync()
    total = 0.0
    for k in range(cuda.threadIdx.x, parts.size, cuda.blockDim.x):
        total += parts[k]
    return block_sum(total)


@kernel(
    "u8[::1], u4[::1], f8[::1], u8[::1], u4[::1], f8[::1], f8[::1], f8[::1], f8, i8, "
    "f8[::1], f8[:,::1], f8[::1], f8[:,::1], f8[::1]"
)
def schur_cg(
    indptr,
    indices,
    data,
    t_indptr,
    t_indices,
    t_data,
    weight,
    b,
    rtol,
    max_iter,
    x,
    work,
    y,
    parts,
    out,
):
    """Solve (diag(weight) - Q'Q) x = b from zero by Jacobi-CG, all blocks in step.

    work is (4, m), y (n,), parts (3, blocks). Writes the number of products and the residual over
    b, in the 1-norm or in the norm of the preconditioner, whichever is larger.
    """
    grid = cuda.cg.this_grid()
    lane, warp, warps = cuda.threadIdx.x % LANES, cuda.grid(1) // LANES, cuda.gridsize(1) // LANES
    inverse, r, p, Ap = work[0], work[1], work[2], work[3]
    rz = size = 0.0
    for j in range(warp, b.size, warps):
        square = 0.0
        for q in range(np.int64(t_indptr[j]) + lane, np.int64(t_indptr[j + 1]), LANES):
            square += t_data[q] * t_data[q]
        square = lane_sum(square)
        if lane == 0:
            inverse[j] = 1.0 / max(weight[j] - square, 1e-14 * weight[j] + 1e-300)
            x[j] = 0.0
            r[j] = b[j]
            p[j] = inverse[j] * b[j]
            rz += b[j] * p[j]
            size += abs(b[j])
    first = rz = grid_sum(rz, parts[0], grid)
    first_size = grid_sum(size, parts[1], grid)
    residual = 1.0 if first > 0.0 else 0.0
    n_iter = 0
    while residual > rtol and n_iter < max_iter:
        for i in range(warp, y.size, warps):
            total = 0.0
            for q in range(np.int64(indptr[i]) + lane, np.int64(indptr[i + 1]), LANES):
                total += data[q] * p[indices[q]]
            total = lane_sum(total)
            if lane == 0:
                y[i] = total
        grid.sync()
        curvature = 0.0
        for j in range(warp, b.size, warps):
            total = 0.0
            for q in range(np.int64(t_indptr[j]) + lane, np.int64(t_indptr[j + 1]), LANES):
                total += t_data[q] * y[t_indices[q]]
            total = lane_sum(total)
            if lane == 0:
                Ap[j] = weight[j] * p[j] - total
                curvature += p[j] * Ap[j]
        curvature = grid_sum(curvature, parts[2], grid)
        n_iter += 1
        if not curvature > 0.0:
            break
        alpha, previous = rz / curvature, rz
        rz = size = 0.0
        for j in range(cuda.grid(1), b.size, cuda.gridsize(1)):
            x[j] += alpha * p[j]
            r[j] -= alpha * Ap[j]
            rz += r[j] * r[j] * inverse[j]
            size += abs(r[j])
        rz, size = grid_sum(rz, parts[0], grid), grid_sum(size, parts[1], grid)
        beta = rz / previous
        residual = max(size / first_size, math.sqrt(rz / first))
        for j in range(cuda.grid(1), b.size, cuda.gridsize(1)):
            p[j] = inverse[j] * r[j] + beta * p[j]
        grid.sync()
    if cuda.grid(1) == 0:
        out[0], out[1] = n_iter, residual
