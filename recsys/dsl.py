"""Dynamic sparse learning: train two sparse tables while their topology adapts, budget constant."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.budget import share_rows
from recsys.losses import Loss
from recsys.optimisers import Optimizer
from recsys.samples import Samples
from recsys.steps import Table, descend, gradient_blocks, loss_derivative
from sparsenum.sparse import CSR, transpose
from sparsenum.topology import Rewiring, cosine_fraction, random_start, rewire

INIT_SCALE = 0.1  # standard deviation of the first weights
LAST_RATE = 0.1  # the learning rate falls linearly to this share of its start
WATCHED_ROWS = 256  # rows of each table on which the explored share is estimated


@dataclass(frozen=True, slots=True)
class Epoch:
    """The ledger of one epoch, taken after its exchange of weights.

    Attributes
    ----------
    epoch : int
        Epochs done.
    loss : float
        Mean loss of the epoch's samples.
    weights, optimiser_floats : int
        Active weights, and numbers of optimiser state: constant throughout.
    fraction : float
        Share of each row's weights that was exchanged.
    grown : int
        Weights exchanged.
    explored : float
        Share of all positions that have been active at some time, estimated on a few hundred
        rows, because knowing it exactly would take a dense mask.
    seconds : float
        Time since the start of training.
    """

    epoch: int
    loss: float
    weights: int
    optimiser_floats: int
    fraction: float
    grown: int
    explored: float
    seconds: float


class Tables(NamedTuple):
    """The two tables being trained."""

    users: Table
    items: Table

    @property
    def n_weights(self) -> int:
        """Active weights of both."""
        return self.users.weights.nnz + self.items.weights.nnz

    @property
    def n_optimiser_floats(self) -> int:
        """Numbers of optimiser state of both."""
        return self.users.state.size + self.items.state.size


def train(
    matrix: CSR,
    weights: int,
    dim: int,
    *,
    loss: Loss,
    optimizer: Optimizer,
    n_negatives: int,
    epochs: int,
    rate: float,
    decay: float,
    drop: float,
    stop: float,
    rng: np.random.Generator,
    on_epoch: Callable[[Epoch, Tables], bool],
) -> Tables:
    """Train user and item tables on the ranking loss, exchanging weights after each epoch [1]_.

    Random sparse start; then each epoch one pass over all interactions, after which in each row
    the share f of weakest weights is dropped and as many are grown where the epoch's
    exact gradient is largest, f annealed by a half cosine from `drop` to zero at progress `stop`.
    ``drop=0`` trains the random start as it is: the static baseline.

    Two departures from the published rule, because they decide the quality: the gradient to grow
    by is that of the whole epoch, not of the last batch (which touches few rows), and the budget
    is kept row by row, so that no user or item starves. A newborn weight is zero and its optimiser
    state fresh. At no time is there a dense table, mask or moment; the gradient exists for
    a block of rows at a time.

    References
    ----------
    .. [1] Wang, Sui, Wu, Zheng, Xiong, "Dynamic Sparse Learning: A Novel Paradigm for Efficient
       Recommendation", WSDM 2024.
    """
    begin = time.perf_counter()
    patterns = (
        random_start(counts, dim, rng=rng, index_dtype=np.uint16)
        for counts in share_rows(weights, *matrix.shape, dim)
    )
    tables = Tables(*(Table.start(pattern, INIT_SCALE, optimizer, rng) for pattern in patterns))
    watches = [Watch(table.weights, rng) for table in tables]
    samples = Samples.of(matrix, n_negatives)
    for epoch in range(epochs):
        progress = epoch / epochs
        samples = samples.drawn_anew(rng)
        slower = rate * (1.0 - (1.0 - LAST_RATE) * progress)
        mean = descend(samples, loss, *tables, slower, decay, rng)
        fraction = cosine_fraction(progress, start=drop, stop=stop) if drop > 0 else 0.0
        grown = 0
        if fraction > 0:
            by_user = loss_derivative(samples, loss, *tables)
            exchanges = exchange(by_user, tables, fraction, rng)
            for table, watch, rewiring in zip(tables, watches, exchanges, strict=True):
                table.move(rewiring)
                watch.see(table.weights)
                grown += rewiring.n_grown
        explored = np.average([watch.explored for watch in watches], weights=matrix.shape)
        ledger = Epoch(
            epoch + 1,
            mean,
            tables.n_weights,
            tables.n_optimiser_floats,
            fraction,
            grown,
            float(explored),
            time.perf_counter() - begin,
        )
        if on_epoch(ledger, tables):
            break
    return tables


def exchange(
    derivative: CSR, tables: Tables, fraction: float, rng: np.random.Generator
) -> tuple[Rewiring, Rewiring]:
    """Drop the weakest `fraction` of each row and grow where the gradient is largest."""
    users, items = tables.users.weights, tables.items.weights
    sides = ((users, derivative, items), (items, transpose(derivative), users))
    first, second = (
        rewire(
            table,
            np.abs(table.data),
            (fraction * table.row_counts).astype(np.int64),
            gradient_blocks(by_row, other),
            rng=rng,
        )
        for table, by_row, other in sides
    )
    return first, second


class Watch:
    """Which positions of a few rows have ever been active: a sample of the explored share."""

    def __init__(self, table: CSR, rng: np.random.Generator) -> None:
        n, d = table.shape
        self.rows: NDArray[np.int64] = rng.choice(n, min(n, WATCHED_ROWS), replace=False)
        self.been_active = np.zeros((self.rows.size, d), np.bool_)
        self.see(table)

    def see(self, table: CSR) -> None:
        """Note which positions are active now."""
        for place, row in enumerate(self.rows):
            self.been_active[place, table.indices[table.indptr[row] : table.indptr[row + 1]]] = True

    @property
    def explored(self) -> float:
        """Share of the watched positions that have been active."""
        return float(self.been_active.mean())
