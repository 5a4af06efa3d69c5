"""Kernels for CUDA that score all items for a block of users, and pick the best of each."""

import math

import numpy as np
from numba import cuda

from sparsenum._cuda import LANES, formula, kernel, sync_lanes

__all__ = ["add_graph", "add_walks", "best", "expand", "hide", "score"]

NOTHING = np.float32(-math.inf)  # the score of what is not to be listed
DIGIT = 8  # bits of a key that are looked at at a time
DIGITS = 1 << DIGIT
LAST = 0xFFFFFFFF


@kernel("u8[::1], u4[::1], f4[::1], u4[::1], f4[:,::1]")
def expand(indptr, indices, data, rows, X):
    """Write some rows of a table as columns of a dense block (d, len(rows)), a thread to each."""
    for t in range(cuda.grid(1), rows.size, cuda.gridsize(1)):
        for j in range(X.shape[0]):
            X[j, t] = np.float32(0)
        for p in range(np.int64(indptr[rows[t]]), np.int64(indptr[rows[t] + 1])):
            X[indices[p], t] = data[p]


@kernel("u8[::1], u4[::1], f4[::1], u1[::1], f4[:,::1], f4[:,::1]")
def score(indptr, indices, data, permitted, X, scores):
    """Write the products of the columns of X and the rows of a table, users by items.

    A warp takes LANES users, a thread each, through a share of the items: each weight of an item
    is read once for all of them, and they read side by side.
    """
    warp, warps = cuda.grid(1) // LANES, cuda.gridsize(1) // LANES
    t = cuda.blockIdx.y * LANES + cuda.threadIdx.x % LANES
    if t < scores.shape[0]:
        for i in range(warp, scores.shape[1], warps):
            total = np.float32(0)
            for p in range(np.int64(indptr[i]), np.int64(indptr[i + 1])):
                total += data[p] * X[indices[p], t]
            scores[t, i] = total if permitted[i] else NOTHING


@kernel("u8[::1], u4[::1], u8[::1], u4[::1], f4[::1], f4[:,::1]")
def add_graph(taken_ptr, taken, indptr, indices, data, scores):
    """Add the rows of a graph that stand for what users took, over the root of how much that is."""
    lane, warp, warps = cuda.threadIdx.x % LANES, cuda.grid(1) // LANES, cuda.gridsize(1) // LANES
    for t in range(warp, scores.shape[0], warps):
        first, stop = np.int64(taken_ptr[t]), np.int64(taken_ptr[t + 1])
        weight = np.float32(1 / math.sqrt(max(stop - first, 1)))
        for q in range(first, stop):
            i = taken[q]
            for p in range(np.int64(indptr[i]) + lane, np.int64(indptr[i + 1]), LANES):
                scores[t, indices[p]] += weight * data[p]
            sync_lanes()


@kernel(
    "u8[::1], u4[::1], u8[::1], u4[::1], u8[::1], u4[::1], f4[::1], f4[::1], f4[::1], f4[:,::1]"
)
def add_walks(taken_ptr, taken, user_ptr, items, item_ptr, users, source, through, target, scores):
    """Add the walks from what users took, over the root of how much that is, a warp to a user."""
    lane, warp, warps = cuda.threadIdx.x % LANES, cuda.grid(1) // LANES, cuda.gridsize(1) // LANES
    for t in range(warp, scores.shape[0], warps):
        first, stop = np.int64(taken_ptr[t]), np.int64(taken_ptr[t + 1])
        weight = np.float32(1 / math.sqrt(max(stop - first, 1)))
        for q in range(first, stop):
            i = taken[q]
            for r in range(np.int64(item_ptr[i]), np.int64(item_ptr[i + 1])):
                v = users[r]
                way = weight * source[i] * through[v]
                for p in range(np.int64(user_ptr[v]) + lane, np.int64(user_ptr[v + 1]), LANES):
                    scores[t, items[p]] += way * target[items[p]]
                sync_lanes()


@kernel("u8[::1], u4[::1], f4[:,::1]")
def hide(indptr, indices, scores):
    """Set the scores of what each user must not be shown to minus infinity."""
    lane, warp, warps = cuda.threadIdx.x % LANES, cuda.grid(1) // LANES, cuda.gridsize(1) // LANES
    for t in range(warp, scores.shape[0], warps):
        for p in range(np.int64(indptr[t]) + lane, np.int64(indptr[t + 1]), LANES):
            scores[t, indices[p]] = NOTHING


@formula
def key_of(score, i):
    """Return a number that is larger for a larger score, and for the lower item where they tie."""
    bits = (score + np.float32(0)).view(np.uint32)  # 0 makes two zeros one
    order = bits ^ np.uint32(LAST) if bits >> np.uint32(31) else bits | np.uint32(0x80000000)
    return (np.uint64(order) << np.uint64(32)) | np.uint64(LAST - i)


@formula
def least_key(row, k):
    """Return the key of the k-th best of a row of scores, to all threads of a block.

    The digits of the key are found one by one from the first, by counts of those that agree so far:
    keys are no two the same, so at the last, if not before, the k-th ends its digit.
    """
    counts = cuda.shared.array(DIGITS, np.uint32)
    prefix, wanted, shift = np.uint64(0), k, 64
    while wanted > 0:
        shift -= DIGIT
        for b in range(cuda.threadIdx.x, DIGITS, cuda.blockDim.x):
            counts[b] = 0
        cuda.syncthreads()
        for i in range(cuda.threadIdx.x, row.size, cuda.blockDim.x):
            digits = key_of(row[i], i) >> np.uint64(shift)
            if digits >> np.uint64(DIGIT) == prefix:
                cuda.atomic.add(counts, np.int64(digits & np.uint64(DIGITS - 1)), 1)
        cuda.syncthreads()
        b = DIGITS - 1
        while np.int64(counts[b]) < wanted:
            wanted -= np.int64(counts[b])
            b -= 1
        prefix = prefix << np.uint64(DIGIT) | np.uint64(b)
        if np.int64(counts[b]) == wanted:
            wanted = 0
        cuda.syncthreads()
    return prefix << np.uint64(shift)


@formula
def sort(keys):
    """Sort keys, as many as a power of two, from the largest: a bitonic network of a block."""
    size = 2
    while size <= keys.size:
        reach = size // 2
        while reach > 0:
            for s in range(cuda.threadIdx.x, keys.size, cuda.blockDim.x):
                other = s ^ reach
                if other > s and (keys[s] < keys[other]) == (s & size == 0):
                    keys[s], keys[other] = keys[other], keys[s]
            cuda.syncthreads()
            reach //= 2
        size *= 2


@kernel("f4[:,::1], i8, u8[:,::1], u4[:,::1], f4[:,::1]")
def best(scores, first, work, items, values):
    """List the best items of each user, a block to one; the lists stand from row `first` on.

    Places without an item get one past the last and minus infinity. work has a row for each block,
    as long as the lists at least and a power of two.
    """
    filled = cuda.shared.array(1, np.uint32)
    keys, k = work[cuda.blockIdx.x], items.shape[1]
    for t in range(cuda.blockIdx.x, scores.shape[0], cuda.gridDim.x):
        row = scores[t]
        least = least_key(row, k)
        if cuda.threadIdx.x == 0:
            filled[0] = 0
        for s in range(k + cuda.threadIdx.x, keys.size, cuda.blockDim.x):
            keys[s] = np.uint64(0)
        cuda.syncthreads()
        for i in range(cuda.threadIdx.x, row.size, cuda.blockDim.x):
            key = key_of(row[i], i)
            if key >= least:
                keys[cuda.atomic.add(filled, 0, 1)] = key
        cuda.syncthreads()
        sort(keys)
        for s in range(cuda.threadIdx.x, k, cuda.blockDim.x):
            i = LAST - np.int64(keys[s] & np.uint64(LAST))
            values[first + t, s] = row[i]
            items[first + t, s] = row.size if row[i] == NOTHING else i
        cuda.syncthreads()
