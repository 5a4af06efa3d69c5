"""Kernels of the recommender, on sparse tables by compressed rows (indptr, indices, data)."""

import math

import numpy as np

from sparsenum._numba import kernel

__all__ = ["bpr_coefficients", "bpr_epoch", "hide_seen", "mark_seen"]


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
def bpr_epoch(
    order, users, positives, negatives, confidence, user_table, item_table, rate, decay, scratch
):
    """Take one Adagrad step on -log sigmoid(w_u . (v_i - v_j)) for each triple, in `order`.

    A table is (indptr, indices, data, squares); only active weights are read or written. scratch
    is (2, d) zeros, given back as zeros. Returns the mean loss.
    """
    u_ptr, u_ind, u_val, u_sqr = user_table
    v_ptr, v_ind, v_val, v_sqr = item_table
    taste, contrast = scratch[0], scratch[1]
    total = 0.0
    for e in order:
        u, i, j = users[e], positives[e], negatives[e]
        for p in range(u_ptr[u], u_ptr[u + 1]):
            taste[u_ind[p]] = u_val[p]
        margin = np.float32(0)
        for p in range(v_ptr[i], v_ptr[i + 1]):
            contrast[v_ind[p]] = v_val[p]
            margin += v_val[p] * taste[v_ind[p]]
        for p in range(v_ptr[j], v_ptr[j + 1]):
            contrast[v_ind[p]] -= v_val[p]
            margin -= v_val[p] * taste[v_ind[p]]
        pull = confidence[e] / (np.float32(1) + np.exp(margin))
        total += math.log1p(math.exp(-margin)) if margin > -30 else -margin
        for p in range(u_ptr[u], u_ptr[u + 1]):
            gradient = decay * u_val[p] - pull * contrast[u_ind[p]]
            u_sqr[p] += gradient * gradient
            u_val[p] -= rate * gradient / np.sqrt(u_sqr[p])
        for p in range(v_ptr[i], v_ptr[i + 1]):
            contrast[v_ind[p]] = np.float32(0)
            gradient = decay * v_val[p] - pull * taste[v_ind[p]]
            v_sqr[p] += gradient * gradient
            v_val[p] -= rate * gradient / np.sqrt(v_sqr[p])
        for p in range(v_ptr[j], v_ptr[j + 1]):
            contrast[v_ind[p]] = np.float32(0)
            gradient = decay * v_val[p] + pull * taste[v_ind[p]]
            v_sqr[p] += gradient * gradient
            v_val[p] -= rate * gradient / np.sqrt(v_sqr[p])
        for p in range(u_ptr[u], u_ptr[u + 1]):
            taste[u_ind[p]] = np.float32(0)
    return total / order.size


@kernel
def bpr_coefficients(users, positives, negatives, confidence, user_table, item_table, scratch, out):
    """Write minus the derivative of the loss of each triple with respect to its margin."""
    u_ptr, u_ind, u_val = user_table
    v_ptr, v_ind, v_val = item_table
    for e in range(users.size):
        u, i, j = users[e], positives[e], negatives[e]
        for p in range(u_ptr[u], u_ptr[u + 1]):
            scratch[u_ind[p]] = u_val[p]
        margin = np.float32(0)
        for p in range(v_ptr[i], v_ptr[i + 1]):
            margin += v_val[p] * scratch[v_ind[p]]
        for p in range(v_ptr[j], v_ptr[j + 1]):
            margin -= v_val[p] * scratch[v_ind[p]]
        out[e] = confidence[e] / (np.float32(1) + np.exp(margin))
        for p in range(u_ptr[u], u_ptr[u + 1]):
            scratch[u_ind[p]] = np.float32(0)


@kernel
def hide_seen(indptr, indices, rows, scores):
    """Set the scores (b, n_items) of what user rows[t] has taken to minus infinity."""
    for t in range(rows.size):
        for p in range(indptr[rows[t]], indptr[rows[t] + 1]):
            scores[t, indices[p]] = -np.inf
