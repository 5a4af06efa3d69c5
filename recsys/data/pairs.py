"""From numbered rows to a matrix: merge what repeats a pair, drop rare users and items."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.report import Policy
from sparsenum.sparse.formats import CSR

LARGEST = float(np.finfo(np.float32).max)
# What is left of weights that cancel, 0.1 + 0.2 - 0.3, is rounding error, not a like.
ROUNDING = 1e-12

Pairs = NDArray[np.uint64]
Weights = NDArray[np.float32]


def merge(
    events: pl.DataFrame, users: pl.Series, items: pl.Series, policy: Policy
) -> tuple[Pairs, Weights]:
    """Return the distinct pairs in order and the weight of each, which may be zero or less.

    Events hold `pair`, the number row * n_items + column, and perhaps `weight`, sorted as
    `recsys.data.scan.number` does.
    """
    pair = events["pair"].to_numpy()
    counts = np.append(pair[1:] != pair[:-1], True)
    ends = np.flatnonzero(counts)
    if policy == "error" and ends.size < pair.size:
        first = int(pair[np.argmin(counts)])
        twice = users[first // items.len()], items[first % items.len()]
        raise ValueError(
            f"source must hold each (user, item) once under duplicates='error': got "
            f"{pair.size - ends.size} repeated rows, among them user {twice[0]!r} with item "
            f"{twice[1]!r}; choose 'sum', 'last' or 'max'"
        )
    if "weight" not in events.columns:
        data = np.diff(ends, prepend=-1) if policy == "sum" else np.ones(ends.size)
    else:
        weight = events["weight"].to_numpy()
        starts = np.append(0, ends[:-1] + 1)
        data = np.add.reduceat(weight, starts) if policy == "sum" else weight[ends]
        if policy == "sum" and weight.min() < 0:
            data[np.abs(data) <= ROUNDING * np.add.reduceat(np.abs(weight), starts)] = 0.0
    if data.max() > LARGEST:
        raise ValueError(
            f"weight must add up to no more than {LARGEST:.1e} per user and item: got "
            f"{data.max():.1e}; rescale the weights"
        )
    return pair[ends], data.astype(np.float32)


def is_liked(data: Weights, min_weight: float | None) -> NDArray[np.bool_]:
    """Return which pairs are liked: of a weight above zero, and not below `min_weight`."""
    return data > 0 if min_weight is None else (data > 0) & (data >= np.float32(min_weight))


def drop_rare(
    pairs: Pairs, data: Weights, n_items: int, min_user: int, min_item: int
) -> tuple[Pairs, Weights, NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs and weights without rare users and items, and which rows and columns are left.

    Who drops out takes pairs away from others, so this goes on until each user left has at least
    `min_user` pairs and each item left `min_item`: the largest part of which that is true, the
    k-core where both are k. What is left is numbered by the rows and columns left. Cost O(pairs)
    per round and two sorts.
    """
    row, column = np.divmod(pairs, n_items)
    row, column = row.astype(np.int64), column.astype(np.int64)
    while row.size:
        enough = np.bincount(row)[row] >= min_user
        enough &= np.bincount(column)[column] >= min_item
        if enough.all():
            break
        row, column, data = row[enough], column[enough], data[enough]
    rows, row = np.unique(row, return_inverse=True)
    columns, column = np.unique(column, return_inverse=True)
    return (row * columns.size + column).astype(np.uint64), data, rows, columns


def renumbered(
    pairs: Pairs, n_items: int, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> Pairs:
    """Return those pairs that lie in some rows and columns, numbered by them."""
    row, column = (part.astype(np.int64) for part in np.divmod(pairs, n_items))
    inside = np.isin(row, rows) & np.isin(column, columns)
    row, column = np.searchsorted(rows, row[inside]), np.searchsorted(columns, column[inside])
    return (row * columns.size + column).astype(np.uint64)


def matrix_of(pairs: Pairs, data: Weights, shape: tuple[int, int]) -> CSR:
    """Return the matrix whose sorted entries are the pairs row * n_items + column."""
    row, column = np.divmod(pairs, max(shape[1], 1))
    counts = np.bincount(row.astype(np.int64), minlength=shape[0])
    return CSR.from_counts(counts, column.astype(np.uint32), data, shape)


def union(first: CSR, second: CSR) -> CSR:
    """Return ones where either matrix of one shape has an entry."""
    pairs = np.union1d(_pairs(first), _pairs(second))
    return matrix_of(pairs, np.ones(pairs.size, np.float32), first.shape)


def _pairs(matrix: CSR) -> Pairs:
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.uint64), matrix.row_counts)
    return rows * np.uint64(matrix.shape[1]) + matrix.indices
