"""Kernels of a sparse factor of the inverse of A = X'X + ridge I, row by row."""

import numpy as np

from sparsenum._numba import kernel

__all__ = ["factor_rows"]


@kernel
def column_product(by_item, i, j):
    """Return the product of columns i and j of X, the shorter of them looked up in the longer."""
    starts, users, values = by_item
    if starts[i + 1] - starts[i] > starts[j + 1] - starts[j]:
        i, j = j, i
    total = np.float32(0)
    for e in range(starts[i], starts[i + 1]):
        low, end = starts[j], starts[j + 1]
        while low < end:
            middle = (low + end) >> np.uint64(1)
            if users[middle] < users[e]:
                low = middle + np.uint64(1)
            else:
                end = middle
        if low < starts[j + 1] and users[low] == users[e]:
            total += values[e] * values[low]
    return total


@kernel
def gather(by_user, by_item, i, dense, touched):
    """Add up the products of column i of X with those before it; return how many are not 0."""
    starts, items, values = by_user
    begins, users, weights = by_item
    n = 0
    for e in range(begins[i], begins[i + 1]):
        u = users[e]
        for p in range(starts[u], starts[u + 1]):
            j = items[p]
            if j >= i:
                break
            if dense[j] == 0:
                touched[n] = j
                n += 1
            dense[j] += weights[e] * values[p]
    return n


@kernel
def choose(dense, touched, n, squares, most, support):
    """Write, in ascending order, the columns that alone explain the most; return how many."""
    if most == 0:
        return 0
    worth = np.empty(n, np.float32)
    for t in range(n):
        worth[t] = dense[touched[t]] * dense[touched[t]] / squares[touched[t]]
    least = np.float32(-1)
    if n > most:
        least = np.partition(worth, n - most)[n - most]
    size = 0
    for t in range(n):
        if worth[t] > least:
            support[size] = touched[t]
            size += 1
    for t in range(n):
        if worth[t] == least and size < most:
            support[size] = touched[t]
            size += 1
    support[:size] = np.sort(support[:size])
    return size


@kernel
def factorise(A, n):
    """Write Cholesky's factor over the lower triangle of A."""
    for i in range(n):
        for j in range(i + 1):
            rest = A[i, j]
            for q in range(j):
                rest -= A[i, q] * A[j, q]
            A[i, j] = np.sqrt(rest) if i == j else rest / A[j, j]


@kernel
def factor_rows(by_user, by_item, squares, head, indptr, lengths, indices, data):
    """Write K with K'K near A^-1: row i solves A on its support, itself and columns before it.

    squares is the diagonal of A, head its first rows and columns. indptr is the room for each row,
    and lengths say how much of it is used: all, if the column meets as many others.
    """
    n_items, room = squares.size, np.int64(0)
    for i in range(n_items):
        room = max(room, np.int64(indptr[i + 1] - indptr[i]))
    A, row = np.empty((room, room), np.float32), np.empty(room, np.float32)
    dense, touched = np.zeros(n_items, np.float32), np.empty(n_items, np.uint32)
    support = np.empty(room, np.uint32)
    for i in range(n_items):
        n = gather(by_user, by_item, i, dense, touched)
        most = np.int64(indptr[i + 1] - indptr[i]) - 1
        size = choose(dense, touched, n, squares, most, support)
        support[size] = i
        for s in range(size + 1):
            A[s, s] = squares[support[s]]
            for t in range(s):
                if s == size:
                    A[s, t] = dense[support[t]]
                elif support[s] < head.shape[0]:
                    A[s, t] = head[support[s], support[t]]
                else:
                    A[s, t] = column_product(by_item, support[s], support[t])
        for t in range(n):
            dense[touched[t]] = np.float32(0)
        factorise(A, size + 1)
        row[:size] = np.float32(0)
        row[size] = np.float32(1)
        for s in range(size, -1, -1):
            row[s] /= A[s, s]
            for t in range(s):
                row[t] -= A[s, t] * row[s]
        first = np.int64(indptr[i])
        for s in range(size + 1):
            indices[first + s], data[first + s] = support[s], row[s]
        lengths[i] = size + 1
