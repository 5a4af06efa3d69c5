"""Slow twins of the recommender: loops over dense tables in float64, nothing clever."""

import math

import numpy as np

from sparsenum.sparse import CSR


def compressed(values, active, index_dtype=np.uint16):
    """Store the active entries of a dense table, zeros among them."""
    rows, columns = np.nonzero(active)
    indptr = np.searchsorted(rows, np.arange(len(active) + 1)).astype(np.uint64)
    data = values[rows, columns].astype(np.float32)
    return CSR(indptr, columns.astype(index_dtype), data, active.shape)


def taken(matrix, user):
    """Return the items in a user's row."""
    return set(matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]].tolist())


# Bayesian personalised ranking: the loss of a triple is -c log sigmoid(w_u . (v_i - v_j)).


def margins(triples, U, V):
    """Return w_u . (v_i - v_j) of each triple."""
    return np.array([U[u] @ (V[i] - V[j]) for u, i, j, _ in triples])


def pulls(triples, U, V):
    """Return minus the derivative of each triple's loss with respect to its margin."""
    c = np.array([c for *_, c in triples])
    return c / (1 + np.exp(margins(triples, U, V)))


def loss(triples, U, V):
    """Return the total loss, each triple by its confidence."""
    c = np.array([c for *_, c in triples])
    return float(np.sum(c * np.logaddexp(0, -margins(triples, U, V))))


def gradients(triples, U, V):
    """Return the gradient of the total loss with respect to every position of both tables."""
    dU, dV = np.zeros_like(U), np.zeros_like(V)
    for (u, i, j, _), pull in zip(triples, pulls(triples, U, V), strict=True):
        dU[u] -= pull * (V[i] - V[j])
        dV[i] -= pull * U[u]
        dV[j] += pull * U[u]
    return dU, dV


def numeric_gradient(f, X, step=1e-5):
    """Differentiate f() with respect to every entry of X, by central differences."""
    gradient = np.zeros_like(X)
    for place in np.ndindex(X.shape):
        kept = X[place]
        X[place] = kept + step
        above = f()
        X[place] = kept - step
        gradient[place] = (above - f()) / (2 * step)
        X[place] = kept
    return gradient


class DenseTable:
    """A dense table with Adagrad, of which only the active positions learn."""

    def __init__(self, values, squares, active):
        self.values, self.squares = values.astype(np.float64), squares.astype(np.float64)
        self.active = active

    def step(self, row, gradient, rate):
        """Go down the gradient in one row (Duchi et al. 2011)."""
        for column in np.flatnonzero(self.active[row]):
            self.squares[row, column] += gradient[column] ** 2
            size = rate / math.sqrt(self.squares[row, column])
            self.values[row, column] -= size * gradient[column]


def bpr_epoch(order, triples, users, items, rate, decay):
    """Take one Adagrad step for each triple; return the mean of -log sigmoid(margin)."""
    total = 0.0
    for e in order:
        u, i, j, _ = triples[e]
        U, V = users.values, items.values
        taste, contrast = U[u].copy(), V[i] - V[j]
        (pull,) = pulls([triples[e]], U, V)
        total += np.logaddexp(0, -margins([triples[e]], U, V)[0])
        users.step(u, decay * U[u] - pull * contrast, rate)
        items.step(i, decay * V[i] - pull * taste, rate)
        items.step(j, decay * V[j] + pull * taste, rate)
    return total / len(order)


# Ranking, with dicts of sets.


def best_items(scores, hidden, k):
    """Return the k best items that are not hidden; ties to the earlier item."""
    left = [item for item in range(len(scores)) if item not in hidden]
    return sorted(left, key=lambda item: (-scores[item], item))[:k]


def ranking_metrics(scores, train, test, k):
    """Return the metrics of each user with held-out items, by loops, and how many were shown."""
    n_items = len(next(iter(scores.values())))
    users_of = [sum(item in taken for taken in train.values()) for item in range(n_items)]
    names = ("recall", "ndcg", "recall_capped", "hit_rate", "mrr", "novelty")
    of, shown = {name: [] for name in names}, set()
    for user, held in test.items():
        wanted = held - train.get(user, set())
        if not wanted:
            continue
        ranked = best_items(scores[user], train.get(user, set()), k)
        ranks = [rank for rank, item in enumerate(ranked, 1) if item in wanted]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
        of["recall"].append(len(ranks) / len(wanted))
        of["recall_capped"].append(len(ranks) / min(k, len(wanted)))
        of["ndcg"].append(sum(1 / math.log2(rank + 1) for rank in ranks) / ideal)
        of["hit_rate"].append(float(bool(ranks)))
        of["mrr"].append(1 / ranks[0] if ranks else 0.0)
        rare = [-math.log2(users_of[item] / len(train)) for item in ranked]
        of["novelty"].append(sum(rare) / len(rare))
        shown |= set(ranked)
    return of, len(shown) / n_items


def neighbours(taken, n_items, k, likeness):
    """Return the k nearest of each item as dicts: likeness is a formula of c_ij, c_i, c_j."""
    users = [{user for user, items in taken.items() if item in items} for item in range(n_items)]
    near = []
    for i in range(n_items):
        like = {
            j: likeness(len(users[i] & users[j]), len(users[i]), len(users[j]))
            for j in range(n_items)
            if j != i and users[i] & users[j]
        }
        best = sorted(like, key=lambda j: (-np.float32(like[j]), j))[:k]
        near.append({j: like[j] for j in best})
    return near
