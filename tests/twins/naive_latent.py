"""Sparse item factors again, dense and slow, to be checked by eye."""

import numpy as np


def normalised(X, item_power):
    of_user = np.maximum(X.sum(axis=1), 1) ** -0.5
    of_item = np.maximum(X.sum(axis=0), 1) ** -item_power
    return X * of_user[:, None] * of_item


def with_ridge(gram, share):
    return gram + share * np.trace(gram) / len(gram) * np.eye(len(gram))


def user_map(V, share):
    return np.linalg.inv(with_ridge(V.T @ V, share))


def pulled(A, V):
    """Sum over users of an item of what they hold without it."""
    both = A.T @ A
    return (both - np.diag(np.diag(both))) @ V


def objective(w, b, H):
    return w @ H @ w / 2 - b @ w


def solved(b, H, support):
    w = np.zeros(b.size)
    w[support] = np.linalg.solve(H[np.ix_(support, support)], b[support])
    return w


def refit(w, support, b, H, extra):
    """Grow by `extra` columns, solve, prune to as many as before, solve."""
    k = len(support)
    gain = (b - H @ w) ** 2 / np.diag(H)
    gain[support] = -1
    grown = [*support, *np.argsort(-gain, kind="stable")[:extra]]
    worth = solved(b, H, grown) ** 2 * np.diag(H)
    kept = sorted(grown, key=lambda t: -worth[t])[:k]
    return solved(b, H, sorted(kept))


def dense_epoch(A, V, user_ridge, item_ridge):
    """Alternating least squares where every row holds every column."""
    M = user_map(V, user_ridge)
    H = with_ridge(M @ V.T @ A.T @ A @ V @ M, item_ridge)
    V = pulled(A, V) @ M @ np.linalg.inv(H)
    return V / np.linalg.norm(V) * len(V) ** 0.5
