"""New rows for trained tables: users and items that came after the training, within a budget."""

import numpy as np
from numpy.typing import NDArray

from recsys.training.loop import falling
from recsys.training.objective import Loss, Samples
from recsys.training.steps import descend, descend_in
from sparsenum import topology
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.nn.table import Table
from sparsenum.sparse import CSR, rows_times_sparse

ADAGRAD = OPTIMIZERS["adagrad"]
ROUNDS = 10  # passes over the interactions of new rows while all else is frozen
FROZEN = 1e30  # Adagrad's sum of squares for a weight that must not move
SETTLED = 10.0  # and for one that was trained, whose sum is not kept: chosen on a validation cut
BLOCK = 1024  # rows of gradient that exist at a time


def fold_users(
    taken: CSR,
    items: CSR,
    counts: NDArray[np.int64],
    loss: Loss,
    rate: float,
    decay: float,
    seed: int,
) -> CSR:
    """Return rows for new users by what they took, with the items as they are.

    The columns of a row are those where the gradient of the ranking loss at zero is largest;
    their weights come from a few passes of the training's own steps, which move only them. The row
    of a user depends on what they took alone, and not on who else is folded in.
    """
    start = new_rows(taken, items, counts)
    state = np.full((1, items.nnz), FROZEN, np.float32)
    frozen = Table(items.with_data(items.data.copy()), state, ADAGRAD)
    rows = []
    for guest in range(taken.shape[0]):
        # Each with the random numbers and confidences that they would have alone.
        frozen.weights.data[:] = items.data
        rng, mine = np.random.default_rng(seed), taken.take(np.array([guest]))
        row = start.take(np.array([guest]))
        users = Table(row, ADAGRAD.start(row.nnz), ADAGRAD)
        samples = Samples.of(mine, loss.n_negatives)
        for done in range(ROUNDS):
            samples = samples.redrawn(rng)
            order = rng.permutation(mine.nnz).astype(np.uint32)
            slower = falling(rate, done / ROUNDS)
            descend_in(order, samples, loss, users, frozen, slower, decay)
        rows.append(users.weights.data)
    return start.with_data(np.concatenate([*rows, np.empty(0, np.float32)]))


def train(
    taken: CSR,
    users: Table,
    items: Table,
    loss: Loss,
    rounds: int,
    rate: float,
    decay: float,
    rng: np.random.Generator,
) -> None:
    """Take some passes of the training's steps, the topology fixed and the rate falling."""
    samples = Samples.of(taken, loss.n_negatives)
    for done in range(rounds):
        slower = falling(rate, done / rounds)
        descend(samples.redrawn(rng), loss, users, items, slower, decay, rng)


def new_rows(taken: CSR, other: CSR, counts: NDArray[np.int64]) -> CSR:
    """Return rows of zeros with counts[i] columns each: where the loss falls fastest from zero.

    At zero the gradient is the sum of the other side's rows taken less as many average ones.
    """
    average = np.bincount(other.indices, other.data, other.shape[1]) / max(other.shape[0], 1)
    indices = []
    for start in range(0, taken.shape[0], BLOCK):
        stop = min(start + BLOCK, taken.shape[0])
        ones = taken.with_data(np.ones(taken.nnz, np.float32))
        pull = rows_times_sparse(ones, other, start, stop)
        pull -= taken.row_counts[start:stop, None] * average.astype(np.float32)
        best = np.argsort(-np.abs(pull), axis=1, kind="stable")
        for row, count in zip(best, counts[start:stop], strict=True):
            indices.append(np.sort(row[:count]))
    columns = np.concatenate([*indices, np.empty(0, np.int64)]).astype(other.indices.dtype)
    shape = (taken.shape[0], other.shape[1])
    return CSR.from_counts(counts, columns, np.zeros(columns.size, np.float32), shape)


def make_room(tables: tuple[CSR, CSR], n_new: int) -> tuple[tuple[CSR, CSR], int]:
    """Prune the weakest weights so that `n_new` rows find their share in the same total.

    Returns the tables and the weights of each new row: the mean over all rows, to which the
    present rows give in proportion to what they hold.
    """
    counts = np.concatenate([table.row_counts for table in tables])
    total, dim = int(counts.sum()), tables[0].shape[1]
    if total < counts.size + n_new:
        raise ValueError(
            f"train must leave a weight for each user and item: got {n_new:,} new ones where the "
            f"budget of {total:,} weights has room for {total - counts.size:,}; fit again with a "
            "larger budget"
        )
    share = min(total // (counts.size + n_new), dim)
    left = topology.allocate(
        total - share * n_new, counts.astype(np.float64), lower=1, upper=counts
    )
    n_users = tables[0].shape[0]
    return (prune(tables[0], left[:n_users]), prune(tables[1], left[n_users:])), share


def prune(table: CSR, counts: NDArray[np.int64]) -> CSR:
    """Return the counts[i] largest weights of each row."""
    left = topology.prune(table, topology.magnitude(table), table.row_counts - counts)
    return CSR(left.indptr, left.indices, left.carry(table.data), table.shape)


def extend(
    tables: tuple[CSR, CSR],
    taken: CSR,
    taken_by: CSR,
    loss: Loss,
    rounds: int,
    rate: float,
    decay: float,
    seed: int,
) -> tuple[CSR, CSR]:
    """Return the tables for more users and items, with as many weights in all.

    Parameters
    ----------
    tables : tuple of CSR
        Trained rows of the first users and of the first items.
    taken : CSR, shape (n_users, n_items)
        All interactions, those of the new rows last.
    taken_by : CSR, shape (n_items, n_users)
        Its transpose.
    loss : Loss
        What the passes minimise.
    rounds : int
        Passes over all interactions: newborn rows learn fast, settled ones move little.
    rate, decay, seed
        As in training.

    Returns
    -------
    tuple of CSR
        Users and items.
    """
    (users, items), share = make_room(
        tables, sum(taken.shape) - tables[0].shape[0] - tables[1].shape[0]
    )
    n_users, n_items = users.shape[0], items.shape[0]
    n_settled = users.nnz, items.nnz
    # New items first, by the users known so far; then new users, by all items.
    some = _corner(taken_by, n_items, n_users)
    items = topology.stack(items, new_rows(some, users, np.full(some.shape[0], share)))
    rest = _corner(taken, n_users, items.shape[0])
    users = topology.stack(users, new_rows(rest, items, np.full(rest.shape[0], share)))
    moving = [
        Table(table, np.where(np.arange(table.nnz) < n, SETTLED, ADAGRAD.start(table.nnz)), ADAGRAD)
        for table, n in zip((users, items), n_settled, strict=True)
    ]
    train(taken, moving[0], moving[1], loss, rounds, rate, decay, np.random.default_rng(seed))
    return moving[0].weights, moving[1].weights


def _corner(matrix: CSR, first: int, n_cols: int) -> CSR:
    """Return the rows from `first` on, and of them the columns below `n_cols`."""
    row = matrix.rows
    kept = (row >= first) & (matrix.indices < n_cols)
    n_rows = matrix.shape[0] - first
    counts = np.bincount(row[kept] - first, minlength=n_rows)
    return CSR.from_counts(counts, matrix.indices[kept], matrix.data[kept], (n_rows, n_cols))
