"""Scores of entries, by which the weakest are dropped."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum._check import whole
from sparsenum.sparse import CSR
from sparsenum.topology import _cpu

Scores = NDArray[np.floating[Any]]


def magnitude(table: CSR) -> Scores:
    """Return ``|w|`` of each entry.

    Parameters
    ----------
    table : CSR, shape (n, d)
        The weights.

    Returns
    -------
    ndarray, shape (nnz,)
        The scores.

    See Also
    --------
    sparsenum.topology.taylor : scores from the derivative, too.
    sparsenum.topology.signed_rank : scores of weights that keep their sign.

    Examples
    --------
    >>> from sparsenum import sparse, topology
    >>> topology.magnitude(sparse.CSR.from_dense([[-3.0, 0.0], [0.5, 1.0]])).tolist()
    [3.0, 0.5, 1.0]
    """
    scores: Scores = np.abs(table.data)
    return scores


def signed_rank(table: CSR, *, by_row: bool = False) -> Scores:
    """Return the rank of ``|w|`` among the weights of the same sign, as a share of these.

    Dropping by it takes equal shares of the smallest positive and of the largest negative weights,
    which is how SET prunes [1]_. A weight of zero counts with the negative ones.

    Parameters
    ----------
    table : CSR, shape (n, d)
        The weights.
    by_row : bool, default False
        Rank within each row, for an exchange row by row, and not within the table.

    Returns
    -------
    ndarray of float64, shape (nnz,)
        The scores, above 0 and up to 1. Cost O(nnz log nnz).

    See Also
    --------
    sparsenum.topology.magnitude : scores from the weights alone.

    References
    ----------
    .. [1] Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
       connectivity", Nature Communications 2018.

    Examples
    --------
    >>> from sparsenum import sparse, topology
    >>> topology.signed_rank(sparse.CSR.from_dense([[3.0, 1.0], [-5.0, -0.1]])).tolist()
    [1.0, 0.5, 1.0, 0.5]
    """
    side = (table.data > 0).astype(np.int64)
    if by_row:
        side += 2 * table.rows
    sizes = np.bincount(side)
    firsts = np.cumsum(sizes) - sizes
    order = np.lexsort((np.abs(table.data), side))
    scores = np.empty(table.nnz)
    scores[order] = (np.arange(1, table.nnz + 1) - firsts[side[order]]) / sizes[side[order]]
    return scores


def row_share(table: CSR) -> Scores:
    """Return ``|w|`` over the Euclidean norm of its row, comparable between rows.

    Rows that learn from few events have small weights; by magnitude alone a common threshold would
    empty them first.

    Parameters
    ----------
    table : CSR, shape (n, d)
        The weights.

    Returns
    -------
    ndarray of float64, shape (nnz,)
        The scores, from 0 to 1; 0 in a row of zeros.

    Examples
    --------
    >>> from sparsenum import sparse, topology
    >>> topology.row_share(sparse.CSR.from_dense([[3.0, -4.0], [0.0, 0.1]])).round(6).tolist()
    [0.6, 0.8, 1.0]
    """
    rows = table.rows
    squares = table.data.astype(np.float64) ** 2
    norms = np.sqrt(np.bincount(rows, weights=squares, minlength=table.shape[0]))
    norms[norms == 0] = 1.0
    scores: Scores = np.abs(table.data) / norms[rows]
    return scores


def taylor(table: CSR, gradient: Iterable[tuple[int, Scores]]) -> Scores:
    """Return ``|w g|``: how much the loss would change without the entry, to first order.

    The criterion is that of [1]_.

    Parameters
    ----------
    table : CSR, shape (n, d)
        The weights.
    gradient : iterable of (int, ndarray)
        First row and gradient (its sign is of no account), of consecutive blocks of rows, as
        `rewire` takes them. Only active entries are read.

    Returns
    -------
    ndarray, shape (nnz,)
        The scores.

    See Also
    --------
    sparsenum.topology.magnitude : scores from the weights alone.

    References
    ----------
    .. [1] Molchanov et al., "Pruning convolutional neural networks for resource efficient
       inference", ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import sparse, topology
    >>> table = sparse.CSR.from_dense([[3.0, 1.0]])
    >>> topology.taylor(table, [(0, np.array([[0.1, -2.0]]))]).tolist()
    [0.30000000000000004, 2.0]
    """
    scores: Scores = np.abs(table.data)
    starts = table.indptr.view(np.int64)
    for first, block in gradient:
        entries = slice(starts[first], starts[first + len(block)])
        rows = np.repeat(np.arange(len(block)), np.diff(starts[first : first + len(block) + 1]))
        scores[entries] *= np.abs(block[rows, table.indices[entries]])
    return scores


def protect_rows(table: CSR, scores: Scores, floor: int) -> Scores:
    """Return scores that are infinite at the `floor` best entries of each row.

    Parameters
    ----------
    table : CSR, shape (n, d)
        The table.
    scores : ndarray, shape (nnz,)
        What each entry is worth.
    floor : int
        Entries of each row that are not to be dropped; of shorter rows, all.

    Returns
    -------
    ndarray, shape (nnz,)
        The scores, infinite where protected; ties protect the later entry.

    Examples
    --------
    >>> from sparsenum import sparse, topology
    >>> table = sparse.CSR.from_dense([[-3.0, 1.0], [0.5, 0.0]])
    >>> topology.protect_rows(table, topology.magnitude(table), floor=1).tolist()
    [inf, 1.0, inf]
    """
    quota = np.maximum(table.row_counts - whole(floor, "floor"), 0)
    protected = spared(scores, table.indptr, quota)
    guarded: Scores = np.where(protected, scores.dtype.type(np.inf), scores)
    return guarded


def spared(
    scores: Scores, starts: NDArray[np.uint64], quota: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which entries are not among the quota[i] weakest of group starts[i]..starts[i + 1].

    Ties give up the earlier entry.
    """
    kept = np.ones(scores.size, np.bool_)
    largest = int(np.diff(starts.view(np.int64)).max(initial=0))
    order = np.empty(largest, np.uint32 if largest < 2**32 else np.int64)
    _cpu.weakest_in_groups(scores, starts, quota, order, kept)
    return kept
