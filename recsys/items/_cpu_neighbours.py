"""Kernels of neighbours two steps away: what is met through users or items in between."""

import numpy as np

from sparsenum._numba import kernel

__all__ = ["likely_users", "near_items", "split_by_item"]

TVERSKY = 1  # the code of this likeness; 0 is the cosine


@kernel
def meet(between, ways, weight, sums, met):
    """Add up in sums the weights of the ways through what is in between; sums comes as zeros.

    ways (indptr, indices) say what each in between leads to. Return how many were met; met lists
    them, rising.
    """
    count = 0
    for b in between:
        for p in range(ways[0][b], ways[0][b + np.uint32(1)]):
            at = ways[1][p]
            if sums[at] == 0:
                met[count] = at
                count += 1
            sums[at] += weight[b]
    met[:count].sort()
    return count


@kernel
def keep_best(scores, found, k):
    """Move the k largest scores and what they are of to the front, in order; return how many.

    Ties keep the earlier.
    """
    n = scores.size
    if n <= k:
        return n
    least = np.partition(scores, n - k)[n - k]
    level = k
    for t in range(n):
        level -= scores[t] > least
    kept = 0
    for t in range(n):
        if scores[t] == least:
            level -= 1
        if scores[t] > least or (scores[t] == least and level >= 0):
            scores[kept], found[kept] = scores[t], found[t]
            kept += 1
    return kept


@kernel
def near_items(users, items, weight, source, target, starts, lengths, indices, data):
    """Write, from starts[i] on, the best of what a walk from item i to a user and on reaches.

    users and items are (indptr, indices), the items of each user and the users of each item;
    weight is that of a way through each user, source and target what each item is scaled by.
    lengths (n_items,) receives how many were found, starts says for how many there is room.
    """
    n_items = lengths.size
    sums, met = np.zeros(n_items, np.float32), np.empty(n_items, np.uint32)
    scores = np.empty(n_items, np.float32)
    for i in range(n_items):
        between = items[1][items[0][i] : items[0][i + 1]]
        count = meet(between, users, weight, sums, met)
        n = 0
        for t in range(count):
            j = met[t]
            if j != i:
                scores[n] = source[i] * sums[j] * target[j]
                met[n] = j
                n += 1
            sums[j] = np.float32(0)
        first, room = starts[i], starts[i + 1] - starts[i]
        lengths[i] = keep_best(scores[:n], met[:n], room)
        for t in range(lengths[i]):
            indices[first + t], data[first + t] = met[t], scores[t]


@kernel
def neighbours(row, users, items, ones, rule, sums, met, alike):
    """List the users most like one with a row of items, rising, and how alike they are.

    users and items are (indptr, indices) of those to choose from; rule is the code of the
    likeness, its shrink, alpha and beta, and how many to list at most. Those who took nothing else
    are not listed: they have nothing to add. Return how many are; sums comes and stays zero.
    """
    kind, shrink, alpha, beta, k = rule
    own = np.float32(row.size)
    count = meet(row, items, ones, sums, met)
    n = 0
    for t in range(count):
        v = met[t]
        other, shared = np.float32(users[0][v + np.uint32(1)] - users[0][v]), sums[v]
        sums[v] = np.float32(0)
        if shared == other:
            continue
        if kind == TVERSKY:
            under = shared + alpha * (own - shared) + beta * (other - shared)
        else:
            under = np.sqrt(own * other)
        alike[n], met[n] = shared / (under + shrink), v
        n += 1
    return keep_best(alike[:n], met[:n], k)


@kernel
def likely_users(taken, users, items, rule, scores):
    """Add up in scores (rows, n_items) what the neighbours of each row of taken took."""
    n_users = users[0].size - 1
    sums, met = np.zeros(n_users, np.float32), np.empty(n_users, np.uint32)
    alike, ones = np.empty(n_users, np.float32), np.ones(scores.shape[1], np.float32)
    for r in range(scores.shape[0]):
        row = taken[1][taken[0][r] : taken[0][r + 1]]
        n = neighbours(row, users, items, ones, rule, sums, met, alike)
        for t in range(n):
            for p in range(users[0][met[t]], users[0][met[t] + np.uint32(1)]):
                scores[r, users[1][p]] += alike[t]


@kernel
def split_by_item(row, item, users, items, rule, parts):
    """Split what neighbours add to the score of an item evenly among what each shares with a row.

    parts (row.size,) comes as zeros; row is sorted, as the rows of users are.
    """
    n_users = users[0].size - 1
    sums, met = np.zeros(n_users, np.float32), np.empty(n_users, np.uint32)
    alike, ones = np.empty(n_users, np.float32), np.ones(items[0].size - 1, np.float32)
    n = neighbours(row, users, items, ones, rule, sums, met, alike)
    shared = np.empty(row.size, np.int64)
    for t in range(n):
        p, stop, taken, count = users[0][met[t]], users[0][met[t] + np.uint32(1)], False, 0
        place = 0
        while p < stop:
            at = users[1][p]
            while place < row.size and row[place] < at:
                place += 1
            if place < row.size and row[place] == at:
                shared[count] = place
                count += 1
            taken = taken or at == item
            p += np.uint64(1)
        if taken:
            for s in range(count):
                parts[shared[s]] += alike[t] / np.float32(count)
