"""Implicit least squares of two sparse tables: rows solved exactly, on supports that move."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recsys.factors import _cpu_als
from recsys.scores.factor_scores import row_norms
from recsys.training.tables import share_rows
from sparsenum.sparse import CSR, transpose
from sparsenum.topology import aligned_start, cosine_fraction, random_start

ALIGNED_DIM = 512  # wider tables start at random: aligning takes dim x dim matrices
FIRST_LENGTH = 0.3  # of the rows of items that the first users are solved for
ROW_POWER = 0.4  # weights of a row grow with this power of its events
# Share of a row that is exchanged in the first sweep, in the last that exchanges any, and when.
GROWTH = {"start": 0.5, "end": 0.1, "stop": 0.85}
TEMPERATURE, RATE, DECAY = 0.3, 0.03, 0.03  # of the polish
FOLDING_SWEEPS = 2  # for new users: to find columns, and to find better ones
FIRST_SQUARE = 1.0  # Adagrad's sum for a solved weight, which is not to leap


@dataclass(frozen=True, slots=True)
class Sweep:
    """The ledger of one epoch.

    Attributes
    ----------
    epoch : int
        Epochs done.
    loss : float
        Of the least squares as a share of that of tables of zeros, the penalty on users left out;
        in the polish, the mean softmax loss of what was taken.
    weights : int
        Weights of both tables: the budget.
    optimizer_floats : int
        Numbers of optimizer state: none in the least squares, one for each weight in the polish.
    fraction : float
        Share of the weights by which the rows of items were grown before they were pruned back.
    seconds : float
        Time since the start of training.
    """

    epoch: int
    loss: float
    weights: int
    optimizer_floats: int
    fraction: float
    seconds: float


Tables = tuple[CSR, CSR]


@dataclass(frozen=True, slots=True)
class Problem:
    """The weighted least squares of all rows, by users and by items.

    Attributes
    ----------
    by_user, by_item : CSR
        By how much the confidence in what was taken is above one.
    user_factors, item_factors : ndarray of float32
        d^-1/2 of either side: their products are the targets.
    reg : float
        L2 penalty.
    """

    by_user: CSR
    by_item: CSR
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    reg: float

    @classmethod
    def of(cls, matrix: CSR, item_events: NDArray[np.int64], alpha: float, reg: float) -> Self:
        """State the problem of a matrix of interactions."""
        taste = np.log1p(matrix.data)
        return cls._of(matrix, alpha / taste.mean(dtype=np.float64) * taste, item_events, reg)

    @classmethod
    def of_each(cls, matrix: CSR, item_events: NDArray[np.int64], alpha: float, reg: float) -> Self:
        """State the problem of users of whom none counts for another: confidences are their own."""
        taste, rows = np.log1p(matrix.data), matrix.rows
        means = np.bincount(rows, taste, matrix.shape[0]) / np.maximum(matrix.row_counts, 1)
        return cls._of(matrix, alpha / means[rows] * taste, item_events, reg)

    @classmethod
    def _of(
        cls, matrix: CSR, extra: NDArray[Any], item_events: NDArray[np.int64], reg: float
    ) -> Self:
        by_user = matrix.with_data(extra.astype(np.float32))
        users, items = (
            (1 / np.sqrt(np.maximum(events, 1))).astype(np.float32)
            for events in (matrix.row_counts, item_events)
        )
        return cls(by_user, transpose(by_user), users, items, reg)

    def solve_users(self, users: CSR, items: CSR, fraction: float) -> tuple[CSR, float]:
        """Return the table of users for that of items, and the sum of b'x."""
        events = self.by_user.arrays
        return self._solved((*events, self.user_factors, self.item_factors), users, items, fraction)

    def solve_items(self, users: CSR, items: CSR, fraction: float) -> tuple[CSR, float]:
        """Return the table of items for that of users, and the sum of b'x."""
        events = self.by_item.arrays
        return self._solved((*events, self.item_factors, self.user_factors), items, users, fraction)

    def _solved(
        self, events: tuple[Any, ...], table: CSR, other: CSR, fraction: float
    ) -> tuple[CSR, float]:
        gram = np.zeros((table.shape[1], table.shape[1]), np.float32)
        _cpu_als.add_gram(other.arrays, gram)
        solved = CSR(table.indptr, table.indices.copy(), table.data.copy(), table.shape)
        found = _cpu_als.solve_rows(
            events, solved.arrays, other.arrays, gram, np.float32(self.reg), fraction
        )
        return solved, found

    def missed(self, found: float) -> float:
        """Return the share of the targets' squares that is not met where so much was found."""
        target = self.user_factors[self.by_user.rows] * self.item_factors[self.by_user.indices]
        total = np.dot(1.0 + self.by_user.data.astype(np.float64), target.astype(np.float64) ** 2)
        return float(1.0 - found / total)

    def served(self, tables: Tables) -> Tables:
        """Return tables whose scores are 1 where those of the problem meet their targets."""
        return _scaled(tables[0], 1 / self.user_factors), _scaled(tables[1], 1 / self.item_factors)

    def new_users(self, items: CSR, counts: NDArray[np.int64], rng: np.random.Generator) -> CSR:
        """Return rows of one length for all users by tables that serve, the items as they are."""
        solved = _scaled(items, self.item_factors)
        # All begin in the same columns, so that who else is folded in does not count.
        one = random_start(counts[:1], items.shape[1], rng=rng, index_dtype=np.uint16)
        users = one.take(np.zeros(counts.size, np.int64))
        for _ in range(FOLDING_SWEEPS):
            users, _ = self.solve_users(users, solved, 1.0)
        return _scaled(users, 1 / self.user_factors)


def train_tables(
    problem: Problem,
    weights: int,
    dim: int,
    epochs: int,
    polish: int,
    n_drawn: int,
    rng: np.random.Generator,
) -> Iterator[tuple[Sweep, Tables]]:
    """Yield the ledger after each epoch, and the tables that serve."""
    begin = time.perf_counter()
    users, items = first_tables(problem.by_user, weights, dim, rng)
    for epoch in range(epochs):
        fraction = cosine_fraction(epoch / epochs, **GROWTH)
        users, _ = problem.solve_users(users, items, fraction if epoch else 1.0)
        items, found = problem.solve_items(users, items, fraction)
        loss, seconds = problem.missed(found), time.perf_counter() - begin
        tables = problem.served((users, items))
        yield Sweep(epoch + 1, loss, users.nnz + items.nnz, 0, fraction, seconds), tables
    steps = polished(problem.by_user, tables, polish, n_drawn, rng)
    for epoch, (loss, moved) in enumerate(steps, epochs + 1):
        seconds = time.perf_counter() - begin
        yield Sweep(epoch, loss, weights, weights, 0.0, seconds), moved


def first_tables(matrix: CSR, weights: int, dim: int, rng: np.random.Generator) -> Tables:
    """Return supports within the budget, those of items with values to solve the users by."""
    counts = share_rows(weights, matrix, dim, ROW_POWER)
    if dim <= ALIGNED_DIM:
        ones = matrix.with_data(np.ones(matrix.nnz, np.float32))
        users, items = aligned_start(ones, *counts, dim, rng=rng, index_dtype=np.uint16)
    else:
        users, items = (random_start(c, dim, rng=rng, index_dtype=np.uint16) for c in counts)
        items = items.with_data(rng.standard_normal(items.nnz, np.float32))
    lengths = np.maximum(row_norms(items), np.finfo(np.float32).tiny)
    zeros = np.zeros(users.nnz, np.float32)
    return users.with_data(zeros), _scaled(items, FIRST_LENGTH / lengths)


def polished(
    matrix: CSR, tables: Tables, epochs: int, n_drawn: int, rng: np.random.Generator
) -> Iterator[tuple[float, Tables]]:
    """Yield the mean loss of each epoch of sampled softmax, and the tables, in the scale they came.

    The steps are taken on tables of rows of mean square length one.
    """
    scales = [np.sqrt(t.shape[0] / np.square(t.data, dtype=np.float64).sum()) for t in tables]
    moving = [
        table.with_data((scale * table.data).astype(np.float32))
        for table, scale in zip(tables, scales, strict=True)
    ]
    squares = tuple(np.full(table.nnz, FIRST_SQUARE, np.float32) for table in moving)
    rule = (np.float32(RATE), np.float32(DECAY), np.float32(1 / TEMPERATURE))
    scratch = np.zeros((2, tables[0].shape[1]), np.float32)
    for _ in range(epochs):
        loss = _cpu_als.polish_users(
            rng.permutation(matrix.shape[0]).astype(np.uint32),
            (matrix.indptr, matrix.indices),
            tuple(table.arrays for table in moving),
            squares,
            rule,
            n_drawn,
            rng.integers(2**63, dtype=np.uint64),
            scratch,
        )
        users, items = (
            table.with_data((table.data / scale).astype(np.float32))
            for table, scale in zip(moving, scales, strict=True)
        )
        yield loss / matrix.nnz, (users, items)


def _scaled(table: CSR, factors: NDArray[Any]) -> CSR:
    """Multiply each row of a table by a number."""
    return table.with_data((table.data * factors[table.rows]).astype(np.float32))
