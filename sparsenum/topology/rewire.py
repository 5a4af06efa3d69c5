"""Start, prune and grow: which entries of a sparse table exist, their number constant."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import whole
from sparsenum.sparse import CSR
from sparsenum.topology import _cpu


def random_start(
    counts: ArrayLike, n_cols: int, *, rng: np.random.Generator, index_dtype: Any = np.uint32
) -> CSR:
    """Return a float32 table of zeros whose row i has counts[i] entries in random columns.

    Every subset of columns is equally likely. The result depends on one number drawn from `rng`.

    Parameters
    ----------
    counts : array_like of int, shape (n,)
        Entries of each row, from 0 to `n_cols`.
    n_cols : int
        Number of columns.
    rng : numpy.random.Generator
        Source of randomness.
    index_dtype : dtype, default uint32
        Unsigned type of the columns.

    Returns
    -------
    CSR, shape (n, n_cols)
        The table. Cost O(n n_cols) time, no dense table.

    Raises
    ------
    ValueError
        If a count is negative or above `n_cols`.
    """
    counts = np.asarray(counts, np.int64)
    if counts.size and not (counts.min() >= 0 and counts.max() <= n_cols):
        raise ValueError(
            f"counts must lie from 0 to the {n_cols} columns: got {counts.min()} to {counts.max()}"
        )
    if n_cols - 1 > np.iinfo(index_dtype).max:
        raise ValueError(f"index_dtype must hold columns up to {n_cols - 1}: got {index_dtype}")
    indptr = np.zeros(counts.size + 1, np.uint64)
    np.cumsum(counts, out=indptr[1:], dtype=np.uint64)
    indices = np.empty(int(indptr[-1]), index_dtype)
    _cpu.random_rows(indptr, n_cols, rng.integers(2**63, dtype=np.uint64), indices)
    return CSR(indptr, indices, np.zeros(indices.size, np.float32), (counts.size, n_cols))


@dataclass(frozen=True, slots=True)
class Rewiring:
    """A new pattern with as many entries as the old one, and where each entry came from.

    Attributes
    ----------
    indptr, indices : ndarray
        The new pattern, columns sorted within rows.
    source : ndarray of int64, shape (nnz,)
        Position of each entry in the old pattern; -1 for a newborn.
    """

    indptr: NDArray[np.uint64]
    indices: NDArray[np.unsignedinteger[Any]]
    source: NDArray[np.int64]

    @property
    def n_grown(self) -> int:
        """Number of newborn entries."""
        return int((self.source < 0).sum())

    def carry(self, state: NDArray[Any], newborn: float = 0.0) -> NDArray[Any]:
        """Move one number per entry (weight, optimiser state) along; newborns start fresh."""
        return np.where(self.source < 0, state.dtype.type(newborn), state[self.source])


def rewire(
    table: CSR,
    keep_score: NDArray[np.floating[Any]],
    n_exchange: int | NDArray[np.int64],
    grow_scores: Iterable[tuple[int, NDArray[np.floating[Any]]]],
    *,
    rng: np.random.Generator,
) -> Rewiring:
    """Drop the weakest entries of a table and grow as many where the score is best.

    What was just dropped may come straight back if its score is best, as a newborn [1]_. Where
    fewer positive scores are left than places, the rest is drawn by lot.

    Parameters
    ----------
    table : CSR, shape (n, d)
        The table; only its pattern is read.
    keep_score : ndarray, shape (nnz,)
        How much each entry is worth, |w| for pruning by magnitude; ties drop the earlier entry.
    n_exchange : int or ndarray of int64, shape (n,)
        How many entries to exchange: in the whole table, or in each row (whose counts then stay).
    grow_scores : iterable of (int, ndarray)
        First row and scores, shape (rows, d), of consecutive blocks of rows: how promising each
        entry is, not negative. Blocks are scratch and are overwritten; the scores of the table
        never need to exist at once.
    rng : numpy.random.Generator
        Draws the lots.

    Returns
    -------
    Rewiring
        A pattern with exactly as many entries. Cost O(n d) for reading the scores; memory
        O(nnz) beside one block.

    Raises
    ------
    ValueError
        If more is to be exchanged than there is.

    References
    ----------
    .. [1] Wang et al., "Dynamic Sparse Learning", WSDM 2024, section 3.
    """
    n = table.shape[0]
    by_row = isinstance(n_exchange, np.ndarray)
    if by_row:
        starts, quota = table.indptr, np.asarray(n_exchange, np.int64)
    else:
        starts = table.indptr[[0, -1]]
        quota = np.array([whole(n_exchange, "n_exchange", upper=table.nnz)])
    if quota.size != starts.size - 1 or (quota < 0).any() or (quota > np.diff(starts)).any():
        raise ValueError(
            "n_exchange must be from 0 to the number of entries, in each row or in all"
        )
    if keep_score.shape != (table.nnz,):
        raise ValueError(
            f"keep_score must hold one number for each of the {table.nnz} entries: got shape "
            f"{keep_score.shape}"
        )
    keep = np.ones(table.nnz, np.bool_)
    _cpu.weakest_in_groups(keep_score, starts, quota, keep)

    seed = rng.integers(2**63, dtype=np.uint64)
    free = _free_blocks(table, keep, grow_scores, seed)
    born_starts, born = (
        _best_by_row(free, quota, table.indices.dtype)
        if by_row
        else _best_of_all(free, int(quota[0]), table.shape, table.indices.dtype)
    )

    kept = np.zeros(n + 1, np.int64)
    np.cumsum(keep, out=(running := np.zeros(table.nnz + 1, np.int64))[1:])
    kept[:] = running[table.indptr.view(np.int64)]
    new_indptr = (kept + born_starts).astype(np.uint64)
    new_indices = np.empty(table.nnz, table.indices.dtype)
    source = np.empty(table.nnz, np.int64)
    _cpu.merge_rows(
        table.indptr, table.indices, keep, born_starts, born, new_indptr, new_indices, source
    )
    return Rewiring(new_indptr, new_indices, source)


Blocks = Iterable[tuple[int, NDArray[np.floating[Any]]]]


def _free_blocks(table: CSR, keep: NDArray[np.bool_], blocks: Blocks, seed: np.uint64) -> Blocks:
    expected = 0
    for first, block in blocks:
        stop = first + len(block)
        if first != expected or stop > table.shape[0] or block.shape[1] != table.shape[1]:
            raise ValueError(
                f"grow_scores must go on at row {expected} of {table.shape}: got a block of shape "
                f"{block.shape} at row {first}"
            )
        _cpu.free_scores(block, first, table.indptr, table.indices, keep, seed)
        yield first, block
        expected = stop
    if expected != table.shape[0]:
        raise ValueError(f"grow_scores must cover {table.shape[0]} rows: got {expected}")


def _best_by_row(
    blocks: Blocks, quota: NDArray[np.int64], dtype: Any
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    starts = np.zeros(quota.size + 1, np.int64)
    np.cumsum(quota, out=starts[1:])
    columns = np.empty(starts[-1], dtype)
    for first, block in blocks:
        _cpu.best_in_rows(block, first, starts, columns)
    rows = np.repeat(np.arange(quota.size), quota)
    return starts, columns[np.lexsort((columns, rows))]


def _best_of_all(
    blocks: Blocks, n: int, shape: tuple[int, int], dtype: Any
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Keep the n best of a stream: at most 2 n candidates (and one block) are held at a time."""
    scores, places = np.empty(0), np.empty(0, np.int64)
    worst = -np.inf
    for first, block in blocks:
        flat = block.ravel()
        hits = np.flatnonzero(flat > worst)
        scores = np.concatenate([scores, flat[hits].astype(np.float64)])
        places = np.concatenate([places, hits + first * shape[1]])
        if scores.size > 2 * n or first + len(block) == shape[0]:
            best = np.lexsort((places, -scores))[:n]
            scores, places = scores[best], places[best]
            worst = scores[-1] if scores.size == n > 0 else worst
    places.sort()
    starts = np.searchsorted(places, np.arange(shape[0] + 1) * shape[1])
    return starts.astype(np.int64), (places % shape[1]).astype(dtype)
