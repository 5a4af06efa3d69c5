"""From numbered rows to a matrix: merge what repeats a pair, drop rare users and items."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.report import Policy
from sparsenum.sparse.formats import CSR

LARGEST = float(np.finfo(np.float32).max)

Pairs = NDArray[np.uint64]
Weights = NDArray[np.float32]


def merge(
    events: pl.DataFrame, users: pl.Series, items: pl.Series, policy: Policy
) -> tuple[Pairs, Weights]:
    """Return the distinct pairs in order and the weight of each.

    Events hold `pair`, the number row * n_items + column, and perhaps `weight`, sorted as
    `recsys.data.scan.number` does.
    """
    pair = events["pair"].to_numpy()
    counts = np.append(pair[1:] != pair[:-1], True)
    ends = np.flatnonzero(counts)
    if policy == "error" and ends.size < pair.size:
        first = int(pair[np.argmin(counts)])
        who, what = users[first // items.len()], items[first % items.len()]
        raise ValueError(
            f"source must hold each (user, item) once under duplicates='error': got "
            f"{pair.size - ends.size} repeated rows, among them user {who!r} with item {what!r}; "
            "choose 'sum', 'last' or 'max'"
        )
    if "weight" not in events.columns:
        data = np.diff(ends, prepend=-1) if policy == "sum" else np.ones(ends.size)
    else:
        weight = events["weight"].to_numpy()
        starts = np.append(0, ends[:-1] + 1)
        data = np.add.reduceat(weight, starts) if policy == "sum" else weight[ends]
    if data.max() > LARGEST:
        raise ValueError(
            f"weight must add up to no more than {LARGEST:.1e} per user and item: got "
            f"{data.max():.1e}; rescale the weights"
        )
    return pair[ends], data.astype(np.float32)


def drop_rare(
    pairs: Pairs,
    data: Weights,
    users: pl.Series,
    items: pl.Series,
    min_user: int,
    min_item: int,
) -> tuple[Pairs, Weights, pl.Series, pl.Series]:
    """Return what is left of pairs, weights and ids, numbered anew, without rare users and items.

    Who drops out takes pairs away from others, so this goes on until each user left has at least
    `min_user` pairs and each item left `min_item`: the largest part of which that is true, the
    k-core where both are k. Cost O(pairs) per round and two sorts.
    """
    row, column = np.divmod(pairs, items.len())
    row, column = row.astype(np.int64), column.astype(np.int64)
    while row.size:
        enough = np.bincount(row)[row] >= min_user
        enough &= np.bincount(column)[column] >= min_item
        if enough.all():
            break
        row, column, data = row[enough], column[enough], data[enough]
    rows, row = np.unique(row, return_inverse=True)
    columns, column = np.unique(column, return_inverse=True)
    pairs = (row * columns.size + column).astype(np.uint64)
    return pairs, data, users.gather(rows), items.gather(columns)


def matrix_of(pairs: Pairs, data: Weights, shape: tuple[int, int]) -> CSR:
    """Return the matrix whose sorted entries are the pairs row * n_items + column."""
    row, column = np.divmod(pairs, max(shape[1], 1))
    counts = np.bincount(row.astype(np.int64), minlength=shape[0])
    return CSR.from_counts(counts, column.astype(np.uint32), data, shape)
