"""Kernels that compare lists of items with what users have taken."""

from sparsenum._formulas import contains_v1
from sparsenum._numba import kernel

__all__ = ["mark_seen"]


@kernel
def mark_seen(indptr, indices, users, items, seen):
    """Write whether each (user, item) is among the sorted entries of the users' rows."""
    for e in range(users.size):
        seen[e] = contains_v1(indices, indptr[users[e]], indptr[users[e] + 1], items[e])
