"""Dynamic sparse learning: train two sparse tables while their topology adapts, budget constant."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.budget import share_rows
from recsys.exchange import Tables, exchange, shrink
from recsys.losses import Loss
from recsys.optimisers import Optimizer
from recsys.recipes import Recipe
from recsys.samples import Samples
from recsys.steps import Table, descend, loss_derivative
from sparsenum.sparse import CSR
from sparsenum.topology import Rewiring, aligned_start, random_start

INIT_SCALE = 0.1  # standard deviation of the first weights
LAST_RATE = 0.1  # the learning rate falls linearly to this share of its start
ALIGNED_DIM = 512  # wider tables start at random: aligning takes dim x dim matrices
BATCH = 2048  # interactions of a mini-batch to grow by
MOMENTUM = 0.5  # what is left of an older derivative with each exchange
FORGOTTEN = 0.02  # smoothed derivatives below this share of the largest are let go
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
        Active weights, and numbers of optimiser state: constant throughout, save for pruning,
        which comes down to the budget.
    fraction : float
        Share of the weights that was to be exchanged.
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
    recipe: Recipe,
    row_power: float,
    rng: np.random.Generator,
    on_epoch: Callable[[Epoch, Tables], bool],
) -> Tables:
    """Train user and item tables on the ranking loss, exchanging weights after each epoch [1]_.

    Sparse start; then each epoch is one pass over all interactions, after which the recipe's
    share of the weights is exchanged: those worth least are dropped, and as many are grown where
    the gradient is largest. A newborn weight is zero and its optimiser state fresh. No recipe but
    pruning, which comes down to the budget, ever holds a dense table, mask or moment; the gradient
    exists for a block of rows at a time.

    The default departs from the published rule in what decides the quality: the gradient to grow
    by is that of the whole epoch, not of one batch (which touches few rows), the budget is kept
    row by row, so that no user or item starves, and the start is aligned with the data.

    References
    ----------
    .. [1] Wang, Sui, Wu, Zheng, Xiong, "Dynamic Sparse Learning: A Novel Paradigm for Efficient
       Recommendation", WSDM 2024.
    """
    begin = time.perf_counter()
    beyond = sum(matrix.shape) * dim - weights  # what is inactive within the budget
    first = weights + round(recipe.excess(0.0) * beyond)
    tables = first_tables(matrix, first, dim, optimizer, recipe, row_power, rng)
    watches = [Watch(table.weights, rng) for table in tables]
    samples = Samples.of(matrix, n_negatives)
    derivative: CSR | None = None
    for epoch in range(epochs):
        progress = epoch / epochs
        samples = samples.drawn_anew(rng)
        slower = rate * (1.0 - (1.0 - LAST_RATE) * progress)
        mean = descend(samples, loss, *tables, slower, decay, rng)
        fraction = recipe.fraction(progress)
        wanted = weights + round(recipe.excess((epoch + 1) / epochs) * beyond)
        rewirings: tuple[Rewiring, ...] = ()
        if fraction > 0:
            derivative = evidence(recipe, samples, loss, tables, derivative, rng)
            rewirings = exchange(recipe, derivative, tables, fraction, rng)
        elif wanted < tables.n_weights:
            rewirings = shrink(recipe, tables, wanted)
        for table, watch, rewiring in zip(tables, watches, rewirings, strict=False):
            table.move(rewiring)
            watch.see(table.weights)
        grown = sum(rewiring.n_grown for rewiring in rewirings)
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


def first_tables(
    matrix: CSR,
    weights: int,
    dim: int,
    optimizer: Optimizer,
    recipe: Recipe,
    row_power: float,
    rng: np.random.Generator,
) -> Tables:
    """Choose where the first weights are, and fill them at random."""
    counts = share_rows(weights, matrix, dim, row_power)
    patterns: Iterable[CSR] = (
        random_start(count, dim, rng=rng, index_dtype=np.uint16) for count in counts
    )
    if recipe.start == "aligned" and dim <= ALIGNED_DIM:
        taste = matrix.with_data(np.log1p(matrix.data))
        patterns = aligned_start(taste, *counts, dim, rng=rng, index_dtype=np.uint16)
    return Tables(*(Table.start(pattern, INIT_SCALE, optimizer, rng) for pattern in patterns))


def evidence(
    recipe: Recipe,
    samples: Samples,
    loss: Loss,
    tables: Tables,
    before: CSR | None,
    rng: np.random.Generator,
) -> CSR | None:
    """Return the derivative of the loss by the scores that new weights are chosen by, or None.

    Momentum smooths this derivative, which is sparse, and not the gradient, which would be
    a dense table: older derivatives meet the present factors. That is exact only while the factors
    stand still.
    """
    if recipe.grow == "random":
        return None
    chosen = None
    if recipe.grow == "batch":
        n = samples.users.size
        chosen = np.sort(rng.choice(n, min(n, BATCH), replace=False))
    derivative = loss_derivative(samples, loss, *tables, chosen)
    if recipe.grow != "momentum" or before is None:
        return derivative
    smooth = MOMENTUM * before.to_scipy() + derivative.to_scipy()
    smooth.data[np.abs(smooth.data) < FORGOTTEN * np.abs(smooth.data).max()] = 0
    smooth.eliminate_zeros()
    return CSR.from_scipy(smooth)


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
