"""Slow twins of neighbours two steps away: dense numpy in float64, nothing clever."""

import numpy as np


def largest(row, k):
    """Return a row with all but its k largest positive numbers zero; ties keep the earlier."""
    kept = np.zeros_like(row)
    best = [j for j in np.argsort(-row, kind="stable") if row[j] > 0][:k]
    kept[best] = row[best]
    return kept


def walks(X, alpha, beta, k):
    """Return what a walk from each item through a user to another weighs, the k best of each."""
    users, items = np.maximum(X.sum(axis=1), 1.0), np.maximum(X.sum(axis=0), 1.0)
    W = (X * users[:, None] ** -alpha * 1.0).T @ X * items[:, None] ** -alpha * items**-beta
    np.fill_diagonal(W, 0)
    return np.array([largest(row, k) for row in W])


def user_scores(X, row, likeness, k):
    """Return what the k users most like a row took, weighed by how alike they are."""
    shared, other = X @ row, X.sum(axis=1)
    alike = [
        likeness(c, row.sum(), d) if 0 < c < d else 0.0 for c, d in zip(shared, other, strict=True)
    ]
    return largest(np.array(alike), k) @ X
