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


# Losses of the scores s of an item taken, first, and of items drawn.

LOSSES = {
    "bpr": lambda s: np.mean(np.logaddexp(0, s[1:] - s[0])),
    "bce": lambda s: np.logaddexp(0, -s[0]) + np.mean(np.logaddexp(0, s[1:])),
    "softmax": lambda s: np.log(np.sum(np.exp(s))) - s[0],
    "ccl": lambda s: 1 - s[0] + 10 * np.mean(np.maximum(s[1:] - 0.4, 0)),
}


def loss(name, taste, rows):
    """Return the loss of a user's row against the candidates' rows."""
    scores = rows @ taste
    if name == "ccl":
        lengths = np.sqrt(np.sum(rows**2, axis=1) + 1e-4)
        scores = scores / lengths / np.sqrt(taste @ taste + 1e-4)
    return float(LOSSES[name](scores))


def total_loss(name, samples, U, V):
    """Return the loss of (user, candidates, confidence) in all."""
    return sum(c * loss(name, U[u], V[items]) for u, items, c in samples)


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
    """A dense table with its optimizer, of which only the active positions learn."""

    def __init__(self, values, active, optimizer):
        self.values, self.active, self.optimizer = values * active, active, optimizer
        self.squares = np.full(values.shape, 1e-6)
        self.steps, self.mean, self.mean_square = np.zeros((3, *values.shape))

    def step(self, row, gradient, rate):
        """Go down the gradient in one row."""
        for place in zip([row] * len(gradient), range(len(gradient)), strict=True):
            if self.active[place]:
                self.values[place] -= rate * self.direction(place, gradient[place[1]])

    def direction(self, place, g):
        """Return the step of a weight (Duchi et al. 2011; Kingma and Ba 2015), rate aside."""
        if self.optimizer == "sgd":
            return g
        if self.optimizer == "adagrad":
            self.squares[place] += g**2
            return g / math.sqrt(self.squares[place])
        if self.optimizer == "momentum":
            self.mean[place] = 0.9 * self.mean[place] + g
            return self.mean[place]
        self.steps[place] += 1
        self.mean[place] += 0.1 * (g - self.mean[place])
        self.mean_square[place] += 0.001 * (g**2 - self.mean_square[place])
        mean = self.mean[place] / (1 - 0.9 ** self.steps[place])
        mean_square = self.mean_square[place] / (1 - 0.999 ** self.steps[place])
        return mean / (math.sqrt(mean_square) + 1e-8)


def epoch(name, samples, users, items, rate, decay):
    """Take one step for each sample; return the mean loss."""
    total = 0.0
    for u, candidates, confidence in samples:
        taste, rows = users.values[u].copy(), items.values[candidates]
        total += loss(name, taste, rows)
        by_user = numeric_gradient(lambda taste=taste, rows=rows: loss(name, taste, rows), taste)
        by_rows = numeric_gradient(lambda taste=taste, rows=rows: loss(name, taste, rows), rows)
        users.step(u, decay * taste + confidence * by_user, rate)
        for c, (item, slope) in enumerate(zip(candidates, by_rows, strict=True)):
            if name != "ccl" or c == 0 or slope.any():  # within the margin all is well
                items.step(item, decay * items.values[item] + confidence * slope, rate)
    return total / len(samples)


def propagated(pattern, layers):
    """Return the mean of the powers of the normalised adjacency of users and items."""
    n = sum(pattern.shape)
    A = np.zeros((n, n))
    A[: len(pattern), len(pattern) :] = pattern
    A += A.T
    roots = np.sqrt(np.maximum(A.sum(axis=1), 1))
    A /= roots[:, None] * roots
    return sum(np.linalg.matrix_power(A, power) for power in range(layers + 1)) / (layers + 1)


# Ranking, with dicts of sets.


def best_items(scores, hidden, k):
    """Return the k best items that are not hidden; ties to the earlier item."""
    left = [item for item in range(len(scores)) if item not in hidden]
    return sorted(left, key=lambda item: (-scores[item], item))[:k]


def ranking_metrics(scores, train, test, k):
    """Return the metrics of each user with held-out items, by loops, and how many were shown."""
    n_items = len(next(iter(scores.values())))
    users_of = [sum(item in taken for taken in train.values()) for item in range(n_items)]
    names = ("recall", "ndcg", "recall_capped", "hit_rate", "mrr", "precision", "map", "novelty")
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
        of["precision"].append(len(ranks) / k)
        shares = [n_hits / rank for n_hits, rank in enumerate(ranks, 1)]
        of["map"].append(sum(shares) / min(k, len(wanted)))
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
