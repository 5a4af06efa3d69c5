"""Training of the autoencoder: batches of users, then an exchange of weights, budget constant."""

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from recsys.autoencoder.gradient import Growth, Unit, gradient_of_batch
from recsys.training import loop
from recsys.training.exchange import rewired, shrunk
from recsys.training.gradient import Blocks
from recsys.training.tables import ItemTable
from sparsenum import topology
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.nn.table import Table
from sparsenum.sparse import CSR, rows_times_sparse, spmm, transpose
from sparsenum.topology.recipe import Recipe

USERS = 256  # of a batch: the lanes of all products
JUDGES = 4096  # users whose gradient decides where weights grow
# An item's weights are in proportion to this power of its number of users, and at least four.
ROW_POWER, ROW_FLOOR = 0.3, 4
OF_USERS = 8  # weights of a user while the start is aligned; they are not kept


def first_table(
    matrix: CSR, weights: int, dim: int, recipe: Recipe, rng: np.random.Generator
) -> ItemTable:
    """Return the first table: rows of length one, aligned with the data or at random."""
    n_users, n_items = matrix.shape
    first = weights + round(recipe.excess(0.0) * (n_items * dim - weights))
    counts = share_rows(matrix.column_counts, first, dim)
    table = topology.random_start(counts, dim, rng=rng, index_dtype=np.uint16)
    values = rng.standard_normal(table.nnz, np.float32)
    if recipe.start == "aligned" and dim <= loop.ALIGNED_DIM:
        of_users = np.full(n_users, min(OF_USERS, dim))
        table = topology.aligned_start(
            matrix, of_users, counts, dim, rng=rng, index_dtype=np.uint16
        )[1]
        values = np.where(table.data, table.data, np.float32(1e-3) * values)
    table = Unit.of(table.with_data(values)).table
    adam = OPTIMIZERS["adam"]
    return ItemTable(Table(table, adam.start(table.nnz), adam))


def share_rows(users: NDArray[np.int64], weights: int, dim: int) -> NDArray[np.int64]:
    """Return how many weights each item gets by the number of its users."""
    floor = min(ROW_FLOOR, weights // users.size)
    claims = np.maximum(users, 1).astype(np.float64) ** ROW_POWER
    return topology.allocate(weights, claims, lower=floor, upper=dim)


def train(
    training: loop.Training[ItemTable],
    matrix: CSR,
    weights: int,
    *,
    epochs: int,
    rate: float,
    recipe: Recipe,
    n_others: int | None,
) -> Iterator[loop.Epoch]:
    """Yield the ledger after each epoch.

    An epoch is one pass over the users in random order, a step of Adam on active weights for each
    batch, and then an exchange where the gradient of some thousand users, summed with its sign, is
    largest. Scores are made of all items, or of those of the batch and `n_others` drawn beside.
    """
    begin = time.perf_counter() - training.seconds
    rng = training.rng
    while training.epoch < epochs:
        progress = training.epoch / epochs
        slower = loop.falling(rate, progress)
        mean = descend(training.tables.items, matrix, slower, n_others, rng)
        fraction = recipe.fraction(progress)
        wanted = loop.allowed(weights, training.tables, recipe, (training.epoch + 1) / epochs)
        rewirings, table = [], training.tables.items.weights
        if fraction > 0:
            growth = grown_by(recipe, matrix, table, rng)
            rewirings = [rewired(recipe, table, growth, fraction, rng)]
        elif wanted < table.nnz:
            rewirings = [shrunk(recipe, table, wanted)]
        n_grown = training.move(rewirings)
        training.epoch += 1
        training.seconds = time.perf_counter() - begin
        yield training.ledger(mean, fraction, n_grown)


def descend(
    table: Table, matrix: CSR, rate: float, n_others: int | None, rng: np.random.Generator
) -> float:
    """Pass over all users once, and return their mean loss."""
    total = 0.0
    takers = rng.permutation(np.flatnonzero(matrix.row_counts))
    for users in np.array_split(takers, max(1, round(takers.size / USERS))):
        rows = scored(matrix, users, n_others, rng)
        loss, gradient = gradient_of_batch(matrix, users, Unit.of(table.weights), rows)
        gradient /= np.float32(users.size)
        table.optimizer.move(table.weights.data, table.state, gradient, rate)
        total += loss
    return total / takers.size


def scored(
    matrix: CSR, users: NDArray[np.int64], n_others: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the items that are scored for a batch, ascending."""
    n_items = matrix.shape[1]
    if n_others is None or n_others >= n_items:
        return np.arange(n_items)
    others = rng.choice(n_items, n_others, replace=False)
    return np.union1d(matrix.take(users).indices.astype(np.int64), others)


def grown_by(
    recipe: Recipe, matrix: CSR, table: CSR, rng: np.random.Generator
) -> Callable[[], Blocks]:
    """Return what reads the gradient to grow by: of some thousand users, of a batch, or none."""
    if recipe.grow == "random":
        return lambda: topology.no_preference(table.shape)
    takers = np.flatnonzero(matrix.row_counts)
    n = min(takers.size, USERS if recipe.grow == "batch" else JUDGES)
    return Growth(matrix, np.sort(rng.choice(takers, n, replace=False)), table).blocks


def extended(table: CSR, taken: CSR) -> CSR:
    """Return a table with rows for all items of `taken`, those behind its own new, as large.

    A new row has the largest entries of the mean of the users who took the item, as the old items
    describe them; the rows of the old items give up their smallest weights for it.
    """
    (n_old, dim), n_items = table.shape, taken.shape[1]
    n_new = n_items - n_old
    if n_new == 0:
        return table
    if table.nnz < n_items:
        raise ValueError(
            f"train must leave a weight for each item: got {n_new:,} new ones where the budget of "
            f"{table.nnz:,} weights has room for {table.nnz - n_old:,}; fit again with a larger "
            "budget"
        )
    share = min(table.nnz // n_items, dim)
    old = table.row_counts
    left = topology.allocate(table.nnz - share * n_new, old, lower=1, upper=old)
    kept = topology.prune(table, topology.magnitude(table), old - left)
    settled = CSR(kept.indptr, kept.indices, kept.carry(table.data), table.shape)
    known = taken.only(taken.indices < n_old)
    known = CSR(
        known.indptr, known.indices, np.ones(known.nnz, np.float32), (known.shape[0], n_old)
    )
    takers = transpose(taken.with_data(np.ones(taken.nnz, np.float32)))
    takers = takers.take(np.arange(n_old, n_items))
    vectors = rows_times_sparse(known, Unit.of(settled).table, 0, known.shape[0])
    rows = topology.strongest(
        [spmm(takers, vectors)], np.full(n_new, share), dim, index_dtype=table.indices.dtype
    )
    # Who was never met with an old item says nothing: any direction will do.
    rows = rows.with_data(np.where(rows.data, rows.data, np.float32(1e-3)))
    return topology.stack(settled, Unit.of(rows).table)


def gone_on(
    table: CSR, taken: CSR, epochs: int, rate: float, n_others: int | None, seed: int
) -> CSR:
    """Return the table after passes over more users, the topology fixed, the rate falling."""
    rng, adam = np.random.default_rng(seed), OPTIMIZERS["adam"]
    moving = Table(table.with_data(table.data.copy()), adam.start(table.nnz), adam)
    for done in range(epochs):
        descend(moving, taken, loop.falling(rate, done / epochs), n_others, rng)
    return moving.weights
