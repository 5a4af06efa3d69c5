"""Kernels that find the best items of a block of users: scores by tiles, kept while in cache."""

import numpy as np

from sparsenum._numba import kernel

__all__ = ["best_touched", "hide_tile", "merge_tile", "score_tile"]


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


@kernel
def spread(indptr, indices, data, row, place, sums, words):
    """Add a row of a table to the sums by place, and mark in words the places that it touches."""
    for p in range(indptr[row], indptr[row + 1]):
        at = place[indices[p]]
        if at < sums.size:
            sums[at] += data[p]
            words[at >> np.uint32(6)] |= np.uint64(1) << np.uint64(at & np.uint32(63))


@kernel
def collect(words, touched, first):
    """Write the marked places from touched[first] on, rising, unmark them; return the end."""
    for w in range(words.size):
        word, at = words[w], np.uint64(w) << np.uint64(6)
        while word:
            if word & np.uint64(255) == 0:
                word >>= np.uint64(8)
                at += np.uint64(8)
                continue
            if word & np.uint64(1):
                touched[first] = at
                first += np.uint64(1)
            word >>= np.uint64(1)
            at += np.uint64(1)
        words[w] = np.uint64(0)
    return first


@kernel
def row_dot(indptr, indices, data, row, x):
    """Return the product of a sparse row and a vector."""
    total = np.float32(0)
    for p in range(indptr[row], indptr[row + 1]):
        total += data[p] * x[indices[p]]
    return total


@kernel
def best_touched(
    rows, taken, hidden, graph, table, place, items, vectors, ends, touched, sums, words, lists
):
    """List the best of the items that graph rows of what users took touch, and their places.

    Tables are (indptr, indices, data); row i of vectors, ends and lists is that of user rows[i].
    Items hidden from a user count as touched, with no score. sums and words come and stay zero.
    """
    indices, values = lists
    numbers, scores = np.empty(sums.size, np.uint32), np.empty((sums.size, 1), np.float32)
    worst = np.empty(1, np.float32)
    stop = np.uint64(0)
    for i in range(rows.size):
        first, own = stop, range(taken[0][rows[i]], taken[0][rows[i] + 1])
        for p in own:
            spread(graph[0], graph[1], graph[2], taken[1][p], place, sums, words)
        for p in range(hidden[0][rows[i]], hidden[0][rows[i] + 1]):
            at = place[hidden[1][p]]
            if at < sums.size:
                sums[at] = -np.inf
                words[at >> np.uint32(6)] |= np.uint64(1) << np.uint64(at & np.uint32(63))
        stop = collect(words, touched, first)
        ends[i + 1] = stop
        weight = np.float32(1 / np.sqrt(max(len(own), 1)))
        n_touched = stop - first
        for q in range(n_touched):
            at = touched[first + q]
            product = row_dot(table[0], table[1], table[2], at, vectors[i])
            scores[q, 0] = weight * sums[at] + product
            numbers[q] = items[at]
            sums[at] = np.float32(0)
        worst[0] = values[i, values.shape[1] - 1]
        merge_tile(scores[:n_touched], numbers, worst, indices[i : i + 1], values[i : i + 1])
