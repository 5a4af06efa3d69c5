"""Slow twins of the models of items: dense numpy in float64, nothing clever."""

import numpy as np


def scaled(X, rule):
    """Return the pattern scaled by the powers of its users' and items' counts."""
    users, items = np.maximum(X.sum(axis=1), 1), np.maximum(X.sum(axis=0), 1)
    return X * users[:, None] ** (-rule.user_power / 2) * items**-rule.source_power


def ridge(X, rule):
    """Return the ridge in units of the mean weight of a user over all pairs."""
    users = np.maximum(X.sum(axis=1), 1)
    return rule.ridge * (X * users[:, None] ** -rule.user_power).sum() / max(X.sum(), 1)


def selection(X, target, rule):
    """Score all items as sources of a target; -1 for what shares no user with it."""
    users, items = np.maximum(X.sum(axis=1), 1), np.maximum(X.sum(axis=0), 1)
    shared = (X * X[:, [target]] * users[:, None] ** -rule.user_power).sum(axis=0)
    score = np.where(shared > 0, shared * items**-rule.select_power, -1.0)
    score[target] = -1.0
    return score


def weights(X, target, sources, rule):
    """Weigh the sources of a target by ridge regression."""
    A, items = scaled(X, rule), np.maximum(X.sum(axis=0), 1)
    S = A[:, sources]
    w = np.linalg.solve(S.T @ S + ridge(X, rule) * np.eye(len(sources)), S.T @ A[:, target])
    return w * items[sources] ** -rule.source_power * items[target] ** rule.target_power


def error(X, target, sources, rule):
    """Return the least ridge-regularised square error of a target by its sources."""
    A = scaled(X, rule)
    S, x = A[:, sources], A[:, target]
    w = np.linalg.solve(S.T @ S + ridge(X, rule) * np.eye(len(sources)), S.T @ x)
    return np.sum((x - S @ w) ** 2) + ridge(X, rule) * w @ w
