"""Bayesian personalised ranking on two sparse tables: triples, steps, and gradients to grow by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys import _cpu
from sparsenum.sparse import CSR, rows_times_sparse, transpose
from sparsenum.topology import Rewiring

FRESH = 1e-6  # Adagrad's sum of squares for a weight that has seen no gradient
REDRAWS = 5  # how often a negative that the user has taken is drawn anew
BLOCK = 1024  # rows of gradient that exist at a time


@dataclass(slots=True)
class Table:
    """One embedding table: its active weights and their optimiser state, and nothing else.

    Attributes
    ----------
    weights : CSR, shape (n, d)
        Active weights, float32, uint16 columns.
    squares : ndarray of float32, shape (nnz,)
        Adagrad's running sum of squared gradients, one for each active weight.
    """

    weights: CSR
    squares: NDArray[np.float32]

    @classmethod
    def start(cls, pattern: CSR, scale: float, rng: np.random.Generator) -> "Table":
        """Fill a pattern with normal weights of standard deviation `scale`."""
        weights = rng.standard_normal(pattern.nnz, np.float32) * np.float32(scale)
        return cls(pattern.with_data(weights), np.full(pattern.nnz, FRESH, np.float32))

    def move(self, rewiring: Rewiring) -> None:
        """Take over a new pattern: survivors keep value and state, newborns start at zero."""
        values = rewiring.carry(self.weights.data)
        self.squares = rewiring.carry(self.squares, FRESH)
        self.weights = CSR(rewiring.indptr, rewiring.indices, values, self.weights.shape)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return what the kernels read and write."""
        return self.weights.indptr, self.weights.indices, self.weights.data, self.squares


@dataclass(frozen=True, slots=True)
class Triples:
    """One epoch's (user, item taken, item not taken), in the order of the interactions."""

    users: NDArray[np.uint32]
    positives: NDArray[np.uint32]
    negatives: NDArray[np.uint32]
    confidence: NDArray[np.float32]


def draw_triples(matrix: CSR, rng: np.random.Generator) -> Triples:
    """Pair each interaction with an item drawn uniformly from those its user has not taken.

    A pair counts with ``log(1 + weight)``, scaled to mean one, so that one bulk order does not
    outvote a thousand baskets.
    """
    users = np.repeat(np.arange(matrix.shape[0], dtype=np.uint32), matrix.row_counts)
    positives = matrix.indices.astype(np.uint32, copy=False)
    negatives = rng.integers(matrix.shape[1], size=matrix.nnz, dtype=np.uint32)
    todo = np.arange(matrix.nnz)
    for _ in range(REDRAWS):
        seen = np.empty(todo.size, np.bool_)
        _cpu.mark_seen(matrix.indptr, positives, users[todo], negatives[todo], seen)
        todo = todo[seen]
        negatives[todo] = rng.integers(matrix.shape[1], size=todo.size, dtype=np.uint32)
    confidence = np.log1p(matrix.data)
    confidence /= confidence.mean()
    return Triples(users, positives, negatives, confidence)


def descend(
    triples: Triples,
    users: Table,
    items: Table,
    rate: float,
    decay: float,
    rng: np.random.Generator,
) -> float:
    """Take one Adagrad step for each triple, in random order, and return the mean loss."""
    scratch = np.zeros((2, users.weights.shape[1]), np.float32)
    loss: float = _cpu.bpr_epoch(
        rng.permutation(triples.users.size),
        triples.users,
        triples.positives,
        triples.negatives,
        triples.confidence,
        users.arrays(),
        items.arrays(),
        np.float32(rate),
        np.float32(decay),
        scratch,
    )
    return loss


def loss_derivative(triples: Triples, users: Table, items: Table) -> CSR:
    """Return the derivative of an epoch's loss with respect to each score, users by items.

    With scores S = U V' and D the derivative, the gradient of U is D V and that of V is D' U, for
    active and inactive weights alike: exact, accumulated over all triples of the epoch, and
    computed in blocks of rows from sparse factors.
    """
    out = np.empty(triples.users.size, np.float32)
    _cpu.bpr_coefficients(
        triples.users,
        triples.positives,
        triples.negatives,
        triples.confidence,
        users.arrays()[:3],
        items.arrays()[:3],
        np.zeros(users.weights.shape[1], np.float32),
        out,
    )
    counts = np.bincount(triples.users, minlength=users.weights.shape[0])
    indptr = np.zeros(counts.size + 1, np.uint64)
    np.cumsum(2 * counts, out=indptr[1:], dtype=np.uint64)
    # Triples are sorted by user: each leaves minus the pull at the item taken, plus at the other.
    indices = np.stack([triples.positives, triples.negatives], axis=1).ravel()
    data = np.stack([-out, out], axis=1).ravel()
    unsorted = CSR(indptr, indices, data, (users.weights.shape[0], items.weights.shape[0]))
    return transpose(transpose(unsorted))


def gradient_blocks(derivative: CSR, other: CSR) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield |D V| in blocks of rows: how much each weight, active or not, wants to move."""
    n = derivative.shape[0]
    for start in range(0, n, BLOCK):
        block = rows_times_sparse(derivative, other, start, min(start + BLOCK, n))
        yield start, np.abs(block, out=block)
