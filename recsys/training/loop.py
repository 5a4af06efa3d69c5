"""Dynamic sparse learning: train two sparse tables while their topology adapts, budget constant."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.training.exchange import exchange, shrink
from recsys.training.gradient import Derivative, Kept, OfSamples
from recsys.training.objective import Loss, Samples
from recsys.training.steps import descend
from recsys.training.tables import Tables, share_rows
from sparsenum.nn.optimizers import Optimizer
from sparsenum.nn.table import Table
from sparsenum.sparse import CSR
from sparsenum.topology import Rewiring, aligned_start, random_start
from sparsenum.topology.recipe import Recipe

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
    weights, optimizer_floats : int
        Active weights, and numbers of optimizer state: constant throughout, save for pruning,
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
    optimizer_floats: int
    fraction: float
    grown: int
    explored: float
    seconds: float


T = TypeVar("T", bound=tuple[Table, ...])


@dataclass(slots=True)
class Training(Generic[T]):
    """The state of a training between two epochs: all that later epochs depend on.

    Attributes
    ----------
    tables : Tables or ItemTable
        Weights and optimizer state.
    watches : list of Watch
        What has been explored of either table.
    rng : Generator
        Source of all random choices.
    epoch : int
        Epochs done.
    derivative : CSR, optional
        The smoothed derivative, for recipes that grow by momentum.
    seconds : float
        Time taken so far.
    """

    tables: T
    watches: "list[Watch]"
    rng: np.random.Generator
    epoch: int = 0
    derivative: CSR | None = None
    seconds: float = 0.0

    @classmethod
    def start(cls, tables: T, rng: np.random.Generator) -> "Training[T]":
        """Begin with these tables."""
        return cls(tables, [Watch.start(table.weights, rng) for table in tables], rng)

    @property
    def n_weights(self) -> int:
        """Active weights of all tables."""
        return sum(table.weights.nnz for table in self.tables)

    def move(self, rewirings: Iterable[Rewiring]) -> int:
        """Take over new patterns, and return how many weights are newborn."""
        grown = 0
        for table, watch, rewiring in zip(self.tables, self.watches, rewirings, strict=False):
            table.move(rewiring)
            watch.see(table.weights)
            grown += rewiring.n_grown
        return grown

    def ledger(self, loss: float, fraction: float, grown: int) -> Epoch:
        """Return the account of the epoch that has just been done."""
        sizes = [table.weights.shape[0] for table in self.tables]
        explored = np.average([watch.explored for watch in self.watches], weights=sizes)
        return Epoch(
            self.epoch,
            loss,
            self.n_weights,
            sum(table.state.size for table in self.tables),
            fraction,
            grown,
            float(explored),
            self.seconds,
        )


def train(
    training: Training[Tables],
    matrix: CSR,
    weights: int,
    *,
    loss: Loss,
    n_negatives: int,
    epochs: int,
    rate: float,
    decay: float,
    recipe: Recipe,
    on_epoch: Callable[[Epoch], bool],
    device: str = "cpu",
) -> None:
    """Train user and item tables on the ranking loss, exchanging weights after each epoch [1]_.

    Sparse start; then each epoch is one pass over all interactions, after which the recipe's
    share of the weights is exchanged: those worth least are dropped, and as many are grown where
    the gradient is largest. A newborn weight is zero and its optimizer state fresh. No recipe but
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
    begin = time.perf_counter() - training.seconds
    tables, rng = training.tables, training.rng
    samples = Samples.of(matrix, n_negatives)
    while training.epoch < epochs:
        progress = training.epoch / epochs
        samples = samples.redrawn(rng)
        slower = falling(rate, progress)
        mean = descend(samples, loss, *tables, slower, decay, rng, device)
        fraction = recipe.fraction(progress)
        wanted = allowed(weights, tables, recipe, (training.epoch + 1) / epochs)
        rewirings: tuple[Rewiring, ...] = ()
        if fraction > 0:
            derivative = evidence(recipe, samples, loss, tables, training.derivative, rng)
            rewirings = exchange(recipe, derivative, tables, fraction, rng)
            training.derivative = derivative.matrix if isinstance(derivative, Kept) else None
        elif wanted < training.n_weights:
            rewirings = shrink(recipe, tables, wanted)
        grown = training.move(rewirings)
        training.epoch += 1
        training.seconds = time.perf_counter() - begin
        if on_epoch(training.ledger(mean, fraction, grown)):
            break


def falling(rate: float, progress: float) -> float:
    """Return the learning rate at some progress of the training, from 0 to 1."""
    return rate * (1.0 - (1.0 - LAST_RATE) * progress)


def first_tables(
    matrix: CSR,
    weights: int,
    dim: int,
    optimizer: Optimizer,
    recipe: Recipe,
    row_power: float,
    rng: np.random.Generator,
) -> Tables:
    """Return the first tables: their patterns by the recipe, their values at random."""
    most = sum(matrix.shape) * dim
    first = weights + round(recipe.excess(0.0) * (most - weights))
    counts = share_rows(first, matrix, dim, row_power)
    patterns: Iterable[CSR] = (
        random_start(count, dim, rng=rng, index_dtype=np.uint16) for count in counts
    )
    if recipe.start == "aligned" and dim <= ALIGNED_DIM:
        patterns = aligned_start(
            matrix, *counts, dim, rng=rng, value=np.log1p, index_dtype=np.uint16
        )
    return Tables(*(Table.start(pattern, INIT_SCALE, optimizer, rng) for pattern in patterns))


def allowed(weights: int, tables: Iterable[Table], recipe: Recipe, progress: float) -> int:
    """Return the weights of a recipe at some progress: the budget, except when pruning."""
    most = sum(math.prod(table.weights.shape) for table in tables)
    return weights + round(recipe.excess(progress) * (most - weights))


def evidence(
    recipe: Recipe,
    samples: Samples,
    loss: Loss,
    tables: Tables,
    before: CSR | None,
    rng: np.random.Generator,
) -> Derivative | None:
    """Return the derivative of the loss by the scores that new weights are chosen by, or None.

    Momentum smooths this derivative, which is sparse, and not the gradient, which would be
    a dense table: older derivatives meet the present factors. That is exact only while the factors
    stand still. It alone holds the derivative of all samples at once.
    """
    if recipe.grow == "random":
        return None
    chosen = None
    if recipe.grow == "batch":
        n = samples.matrix.nnz
        chosen = np.sort(rng.choice(n, min(n, BATCH), replace=False))
    derivative = OfSamples(samples, loss, *tables, chosen)
    if recipe.grow != "momentum":
        return derivative
    smooth = derivative.whole().to_scipy()
    if before is not None:
        smooth = MOMENTUM * before.to_scipy() + smooth
        smooth.data[np.abs(smooth.data) < FORGOTTEN * np.abs(smooth.data).max()] = 0
        smooth.eliminate_zeros()
    return Kept(CSR.from_scipy(smooth))


@dataclass(frozen=True, slots=True)
class Watch:
    """Which positions of a few rows have ever been active: a sample of the explored share."""

    rows: NDArray[np.int64]
    been_active: NDArray[np.bool_]

    @classmethod
    def start(cls, table: CSR, rng: np.random.Generator) -> "Watch":
        """Choose the rows to watch, and note what is active."""
        n, d = table.shape
        rows = rng.choice(n, min(n, WATCHED_ROWS), replace=False)
        watch = cls(rows, np.zeros((rows.size, d), np.bool_))
        watch.see(table)
        return watch

    def see(self, table: CSR) -> None:
        """Note which positions are active now."""
        for place, row in enumerate(self.rows):
            self.been_active[place, table.indices[table.indptr[row] : table.indptr[row + 1]]] = True

    @property
    def explored(self) -> float:
        """Share of the watched positions that have been active."""
        return float(self.been_active.mean())
