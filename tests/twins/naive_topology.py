"""Slow twins of the topology: loops over dense tables, nothing clever."""

from fractions import Fraction
from math import prod

import numpy as np


def table_densities(total, shapes, relative):
    """Raise eps until eps * relative, one at most, fills the budget; exact."""
    dense = set()
    while True:
        left = total - sum(prod(shapes[i]) for i in dense)
        claim = sum(relative[i] * prod(shapes[i]) for i in range(len(shapes)) if i not in dense)
        eps = Fraction(left) / claim if claim else Fraction(0)
        full = {i for i in range(len(shapes)) if i not in dense and eps * relative[i] > 1}
        if not full:
            return [Fraction(1) if i in dense else eps * relative[i] for i in range(len(shapes))]
        dense |= full


def relative_density(rule, shape):
    """Return what the density of a table is proportional to."""
    n, m = shape[:2]
    return {
        "uniform": Fraction(1),
        "er": Fraction(n + m, n * m),
        "erk": Fraction(sum(shape), prod(shape)),
    }[rule]


def best_counts(scores, total):
    """Count the best entries of each table, going through all of them from the best."""
    ranked = sorted((-x, t, p) for t, table in enumerate(scores) for p, x in enumerate(table))
    return [sum(t == table for _, t, _ in ranked[:total]) for table in range(len(scores))]


def signed_ranks(values, groups):
    """Rank each value among those of its group and sign, from the one nearest to zero."""
    alike = {}
    for p, (value, group) in enumerate(zip(values, groups, strict=True)):
        alike.setdefault((group, value > 0), []).append((abs(value), p))
    ranks = [0.0] * len(values)
    for members in alike.values():
        for rank, (_, p) in enumerate(sorted(members)):
            ranks[p] = (rank + 1) / len(members)
    return ranks


def protected(scores, counts, floor):
    """Return the positions of the best entries of each row; ties to the later entry."""
    positions, start = set(), 0
    for count in counts:
        row = sorted(range(start, start + count), key=lambda p: (scores[p], p))
        positions |= set(row[max(count - floor, 0) :])
        start += count
    return positions


def strongest(A, B, counts):
    """Make A B orthonormal by the symmetric root and keep the largest entries of each row."""
    Y = A @ B
    values, vectors = np.linalg.eigh(Y.T @ Y)
    inverse = [1 / np.sqrt(v) if v > 1e-6 * values[-1] else 0.0 for v in values]
    Y = Y @ vectors @ np.diag(inverse) @ vectors.T
    kept = np.zeros_like(Y)
    for i, count in enumerate(counts):
        columns = sorted(range(Y.shape[1]), key=lambda j: (-abs(Y[i, j]), j))[:count]
        kept[i, columns] = Y[i, columns]
    return kept
