"""Kernels on compressed rows for CUDA.

Rows are gone through by warps, so that what a row holds is read side by side. Sums are float64
whatever the matrix holds: reading it takes longer.
"""

import math

import numpy as np
from numba import cuda

from sparsenum._cuda import (
    LANES,
    THREADS,
    block_sum,
    formula,
    kernel,
    lane_max,
    lane_rank,
    lane_sum,
    part,
    sync_lanes,
)

__all__ = [
    "cg",
    "count_columns",
    "fill_transpose",
    "offsets",
    "row_top_k",
    "schur_cg",
    "spmm",
    "spmv",
    "start_columns",
]

FLOATS, INDICES = ("f8", "f4"), ("u4", "u2")
TURNED = (("u4", "u4"), ("u2", "u2"), ("u2", "u4"))  # indices of a matrix and of its transpose
AHEAD = 4  # scores that a lane reads before it asks whether one of them is good enough


# Transposes


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


@kernel(*(f"u8[::1], {i}[::1], u4[:,::1]" for i in INDICES))
def count_columns(indptr, indices, counts):
    """Count the entries of each column in the block's range of rows, counts (blocks, m)."""
    n = indptr.size - 1
    share = (n + cuda.gridDim.x - 1) // cuda.gridDim.x
    first = min(cuda.blockIdx.x * share, n)
    start, stop = np.int64(indptr[first]), np.int64(indptr[min(first + share, n)])
    for j in range(cuda.threadIdx.x, counts.shape[1], cuda.blockDim.x):
        counts[cuda.blockIdx.x, j] = 0
    cuda.syncthreads()
    for p in range(start + cuda.threadIdx.x, stop, cuda.blockDim.x):
        cuda.atomic.add(counts, (cuda.blockIdx.x, indices[p]), 1)


@kernel("u4[:,::1], u8[::1]")
def start_columns(counts, totals):
    """Turn counts into where each range of rows begins within a column; write the totals."""
    for j in range(cuda.grid(1), totals.size, cuda.gridsize(1)):
        total = 0
        for k in range(counts.shape[0]):
            count = counts[k, j]
            counts[k, j] = total
            total += count
        totals[j] = total


@kernel(
    *(
        f"u8[::1], {i}[::1], {f}[::1], u4[:,::1], u8[::1], {t}[::1], {f}[::1]"
        for f in FLOATS
        for i, t in TURNED
    )
)
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


# Products


@formula
def row_dot(indptr, indices, data, i, lane, x):
    """Return the product of row i with x, to all lanes."""
    total = 0.0
    for p in range(np.int64(indptr[i]) + lane, np.int64(indptr[i + 1]), LANES):
        total += np.float64(data[p]) * x[indices[p]]
    return lane_sum(total)


@kernel(*(f"u8[::1], {i}[::1], {f}[::1], {f}[::1], {f}[::1]" for f in FLOATS for i in INDICES))
def spmv(indptr, indices, data, x, y):
    """Write y = A x: x (m,), y (n,)."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, y.size, cuda.gridsize(1) // LANES):
        total = row_dot(indptr, indices, data, i, lane, x)
        if lane == 0:
            y[i] = total


@kernel(*(f"u8[::1], {i}[::1], {f}[::1], {f}[:,::1], {f}[:,::1]" for f in FLOATS for i in INDICES))
def spmm(indptr, indices, data, X, Y):
    """Write Y = A X: X (m, b), Y (n, b), a thread for each number of Y, rows of X side by side."""
    n, b = Y.shape
    for cell in range(cuda.grid(1), n * b, cuda.gridsize(1)):
        i, t = cell // b, cell % b
        total = 0.0
        for p in range(np.int64(indptr[i]), np.int64(indptr[i + 1])):
            total += np.float64(data[p]) * X[indices[p], t]
        Y[i, t] = total


# Conjugate gradients


@part
def grid_sums(x, y, parts):
    """Return the sums of x and y over all blocks, to all of them; parts is (2, blocks).

    It is called and not copied, like formulas, into its place: copies would fill the registers.
    """
    x, y = block_sum(x), block_sum(y)
    if cuda.threadIdx.x == 0:
        parts[0, cuda.blockIdx.x] = x
        parts[1, cuda.blockIdx.x] = y
    cuda.cg.this_grid().sync()
    x = y = 0.0
    for k in range(cuda.threadIdx.x, parts.shape[1], cuda.blockDim.x):
        x += parts[0, k]
        y += parts[1, k]
    return block_sum(x), block_sum(y)


@kernel(
    *(
        f"u8[::1], {i}[::1], {f}[::1], f8[::1], f8[::1], f8, i8, f8[::1], f8[:,::1], "
        "f8[:,::1], f8[::1]"
        for f in FLOATS
        for i in INDICES
    ),
    per_processor=1,  # its sums take more registers than two blocks could have
)
def cg(indptr, indices, data, inverse, b, rtol, max_iter, x, work, parts, out):
    """Solve A x = b from zero by CG, preconditioned by a diagonal, all blocks in step.

    work is (3, n), parts (4, blocks). Writes the number of products, the 2-norm of the residual,
    and whether it came down to rtol times that of b.
    """
    grid = cuda.cg.this_grid()
    lane, warp, warps = cuda.threadIdx.x % LANES, cuda.grid(1) // LANES, cuda.gridsize(1) // LANES
    r, p, Ap = work[0], work[1], work[2]
    rz = square = steepest = 0.0
    for j in range(cuda.grid(1), b.size, cuda.gridsize(1)):
        x[j] = 0.0
        r[j] = b[j]
        p[j] = inverse[j] * b[j]
        rz += b[j] * p[j]
        square += b[j] * b[j]
    rz, square = grid_sums(rz, square, parts[:2])
    residual = math.sqrt(square)
    goal = rtol * residual
    n_iter = 0
    while residual > goal and n_iter < max_iter:
        curvature = size = 0.0
        for i in range(warp, b.size, warps):
            total = row_dot(indptr, indices, data, i, lane, p)
            if lane == 0:
                Ap[i] = total
                curvature += p[i] * total
                size += p[i] / inverse[i] * p[i]
        curvature, size = grid_sums(curvature, size, parts[2:])
        n_iter += 1
        if not curvature > 1e-14 * steepest * size:  # A is zero there but for rounding
            break
        steepest = max(steepest, curvature / size)
        alpha, previous = rz / curvature, rz
        rz = square = 0.0
        for j in range(cuda.grid(1), b.size, cuda.gridsize(1)):
            x[j] += alpha * p[j]
            r[j] -= alpha * Ap[j]
            rz += r[j] * r[j] * inverse[j]
            square += r[j] * r[j]
        rz, square = grid_sums(rz, square, parts[:2])
        residual = math.sqrt(square)
        beta = rz / previous
        for j in range(cuda.grid(1), b.size, cuda.gridsize(1)):
            p[j] = inverse[j] * r[j] + beta * p[j]
        grid.sync()
    if cuda.grid(1) == 0:
        out[0], out[1], out[2] = n_iter, residual, 1.0 if residual <= goal else 0.0


@kernel(
    *(
        f"u8[::1], {i}[::1], {f}[::1], u8[::1], {t}[::1], {f}[::1], f8[::1], f8[::1], f8, i8, "
        "f8[::1], f8[:,::1], f8[::1], f8[:,::1], f8[::1]"
        for f in FLOATS
        for i, t in TURNED
    )
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

    work is (4, m), y (n,), parts (4, blocks). Writes the number of products and the residual over
    b, in the 1-norm or in the norm of the preconditioner, whichever is larger.
    """
    grid = cuda.cg.this_grid()
    lane, warp, warps = cuda.threadIdx.x % LANES, cuda.grid(1) // LANES, cuda.gridsize(1) // LANES
    inverse, r, p, Ap = work[0], work[1], work[2], work[3]
    rz = size = 0.0
    for j in range(warp, b.size, warps):
        square = 0.0
        for q in range(np.int64(t_indptr[j]) + lane, np.int64(t_indptr[j + 1]), LANES):
            square += np.float64(t_data[q]) * t_data[q]
        square = lane_sum(square)
        if lane == 0:
            inverse[j] = 1.0 / max(weight[j] - square, 1e-14 * weight[j] + 1e-300)
            x[j] = 0.0
            r[j] = b[j]
            p[j] = inverse[j] * b[j]
            rz += b[j] * p[j]
            size += abs(b[j])
    rz, first_size = grid_sums(rz, size, parts[:2])
    first = rz
    residual = 1.0 if first > 0.0 else 0.0
    n_iter = 0
    while residual > rtol and n_iter < max_iter:
        for i in range(warp, y.size, warps):
            total = row_dot(indptr, indices, data, i, lane, p)
            if lane == 0:
                y[i] = total
        grid.sync()
        curvature = size = 0.0
        for j in range(warp, b.size, warps):
            total = row_dot(t_indptr, t_indices, t_data, j, lane, y)
            if lane == 0:
                Ap[j] = weight[j] * p[j] - total
                curvature += p[j] * Ap[j]
                size += p[j] * weight[j] * p[j]
        curvature, size = grid_sums(curvature, size, parts[2:])
        n_iter += 1
        if not curvature > 1e-14 * size:  # the matrix is zero there but for rounding
            break
        alpha, previous = rz / curvature, rz
        rz = size = 0.0
        for j in range(cuda.grid(1), b.size, cuda.gridsize(1)):
            x[j] += alpha * p[j]
            r[j] -= alpha * Ap[j]
            rz += r[j] * r[j] * inverse[j]
            size += abs(r[j])
        rz, size = grid_sums(rz, size, parts[:2])
        beta = rz / previous
        residual = max(size / first_size, math.sqrt(rz / first))
        for j in range(cuda.grid(1), b.size, cuda.gridsize(1)):
            p[j] = inverse[j] * r[j] + beta * p[j]
        grid.sync()
    if cuda.grid(1) == 0:
        out[0], out[1] = n_iter, residual


# Selection


@formula
def make_room(indices, values, stop, score, lane):
    """Move those of the first places below score one place on; return which is left free."""
    while stop > 0:
        q = max(stop - 1 - lane, 0)
        column, value = indices[q], values[q]
        moves = lane < stop and value < score
        sync_lanes()
        if moves:
            indices[q + 1], values[q + 1] = column, value
        sync_lanes()
        _, moved = lane_rank(moves, lane)
        stop -= moved
        if moved < LANES:
            break
    return stop


@kernel(*(f"{f}[:,::1], u4[:,::1], {f}[:,::1]" for f in FLOATS))
def row_top_k(scores, indices, values):
    """Write the k largest scores (n, m) of each row, best first, ties to the lower column.

    What is NaN or minus infinity is never chosen; unused places hold m and minus infinity. Most
    scores enter no list: these are read once, and settled by one question to the warp for many.
    """
    lane, m, k = cuda.threadIdx.x % LANES, scores.shape[1], indices.shape[1]
    for i in range(cuda.grid(1) // LANES, scores.shape[0], cuda.gridsize(1) // LANES):
        for q in range(lane, k, LANES):
            indices[i, q], values[i, q] = m, -np.inf
        sync_lanes()
        found, worst = 0, -np.inf
        for start in range(0, m, AHEAD * LANES):
            best = -np.inf
            for t in range(AHEAD):
                j = start + t * LANES + lane
                if j < m and scores[i, j] > best:
                    best = np.float64(scores[i, j])
            if not lane_max(best) > worst:
                continue
            for first in range(start, min(start + AHEAD * LANES, m), LANES):
                j = first + lane
                enters = j < m and scores[i, j] > worst
                before, entering = lane_rank(enters, lane)
                for t in range(entering):
                    column = lane_max(j if enters and before == t else -1)
                    score = scores[i, column]
                    if score > worst:
                        place = make_room(indices[i], values[i], min(found, k - 1), score, lane)
                        if lane == 0:
                            indices[i, place], values[i, place] = column, score
                        sync_lanes()
                        found = min(found + 1, k)
                        if found == k:
                            worst = np.float64(values[i, k - 1])
