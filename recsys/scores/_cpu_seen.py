"""Kernels on what users have taken: what is known, and what can be learned side by side."""

import numpy as np

from sparsenum._formulas import contains_v1
from sparsenum._numba import kernel

__all__ = ["cut_waves", "hide_seen", "mark_seen", "sort_waves"]


@kernel
def mark_seen(indptr, indices, users, items, seen):
    """Write whether each (user, item) is among the sorted entries of the users' rows."""
    for e in range(users.size):
        seen[e] = contains_v1(indices, indptr[users[e]], indptr[users[e] + 1], items[e])


@kernel
def hide_seen(indptr, indices, rows, scores):
    """Set the scores (b, n_items) of what user rows[t] has taken to minus infinity."""
    for t in range(rows.size):
        for p in range(indptr[rows[t]], indptr[rows[t] + 1]):
            scores[t, indices[p]] = -np.inf


@kernel
def cut_waves(users, candidates, of_user, of_item, wave):
    """Write the wave of each interaction: one after all earlier ones that share a row with it.

    of_user and of_item come as zeros, and become how many waves there are until each row's last.
    """
    for k in range(users.size):
        depth = of_user[users[k]]
        for i in candidates[k]:
            depth = max(depth, of_item[i])
        wave[k] = depth
        of_user[users[k]] = depth + 1
        for i in candidates[k]:
            of_item[i] = depth + 1


@kernel
def sort_waves(wave, ends, order):
    """Write the interactions wave by wave, and in place of where waves end where they begin."""
    for k in range(wave.size - 1, -1, -1):
        ends[wave[k]] -= 1
        order[ends[wave[k]]] = k
