"""Kernels that find the best items of a block of users: scores by tiles, kept while in cache."""

import numpy as np

from sparsenum._numba import kernel

__all__ = ["hide_tile", "merge_tile", "score_tile"]


@kernel
def score_tile(indptr, indices, data, first, X, Y):
    """Write Y = A X for the rows of A from `first` on; four weights at a time spare Y trips."""
    for i in range(Y.shape[0]):
        y = Y[i]
        y[:] = np.float32(0)
        p, stop = indptr[first + i], indptr[first + i + 1]
        while p + np.uint64(4) <= stop:
            a, xa = data[p], X[indices[p]]
            b, xb = data[p + np.uint64(1)], X[indices[p + np.uint64(1)]]
            c, xc = data[p + np.uint64(2)], X[indices[p + np.uint64(2)]]
            d, xd = data[p + np.uint64(3)], X[indices[p + np.uint64(3)]]
            for t in range(y.size):
                y[t] += a * xa[t] + b * xb[t] + c * xc[t] + d * xd[t]
            p += np.uint64(4)
        while p < stop:
            a, xa = data[p], X[indices[p]]
            for t in range(y.size):
                y[t] += a * xa[t]
            p += np.uint64(1)


@kernel
def hide_tile(indptr, indices, rows, first, Y):
    """Set to minus infinity what the sorted row rows[t] bars from column t of Y, from first on."""
    for t in range(rows.size):
        start, stop = indptr[rows[t]], indptr[rows[t] + 1]
        end = stop
        while start < stop:
            middle = (start + stop) >> np.uint64(1)
            if indices[middle] < first:
                start = middle + np.uint64(1)
            else:
                stop = middle
        while start < end and indices[start] < first + Y.shape[0]:
            Y[indices[start] - first, t] = -np.inf
            start += np.uint64(1)


@kernel
def merge_tile(Y, items, worst, indices, values):
    """Merge scores Y (tile, b) of `items` into the k best so far (b, k), ties to the lower item.

    worst (b,) holds the last of each user's values, or infinity in lanes that hold no user.
    """
    k = indices.shape[1]
    for i in range(Y.shape[0]):
        y, item = Y[i], items[i]
        hits = np.int32(0)
        for t in range(y.size):
            hits = np.int32(hits + (y[t] >= worst[t]))
        if hits == 0:
            continue
        for t in range(y.size):
            score, place = y[t], k - 1
            if not score >= worst[t] or (
                score == values[t, place] and (indices[t, place] < item or score == -np.inf)
            ):
                continue
            while place > 0 and (
                values[t, place - 1] < score
                or (values[t, place - 1] == score and indices[t, place - 1] > item)
            ):
                values[t, place] = values[t, place - 1]
                indices[t, place] = indices[t, place - 1]
                place -= 1
            values[t, place] = score
            indices[t, place] = item
            worst[t] = values[t, k - 1]
