"""Kernels on what users have taken, by compressed rows (indptr, indices)."""

import numpy as np

from sparsenum._numba import kernel

__all__ = ["hide_seen", "mark_seen"]


@kernel
def contains(indices, start, stop, value):
    """Return whether a sorted range of indices holds value."""
    end = stop
    while start < stop:
        middle = (start + stop) >> np.uint64(1)
        if indices[middle] < value:
            start = middle + np.uint64(1)
        else:
            stop = middle
    return start < end and indices[start] == value


@kernel
def mark_seen(indptr, indices, users, items, seen):
    """Write whether each (user, item) is among the sorted entries of the users' rows."""
    for e in range(users.size):
        seen[e] = contains(indices, indptr[users[e]], indptr[users[e] + 1], items[e])


@kernel
def hide_seen(indptr, indices, rows, scores):
    """Set the scores (b, n_items) of what user rows[t] has taken to minus infinity."""
    for t in range(rows.size):
        for p in range(indptr[rows[t]], indptr[rows[t] + 1]):
            scores[t, indices[p]] = -np.inf
