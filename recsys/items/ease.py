"""EASE: the linear model of all items on all others, in closed form, pruned to a budget."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from recsys.data.interactions import Interactions
from recsys.items.neighbours import Neighbours
from recsys.storage.budget import parse_budget
from sparsenum._check import non_negative, positive, require_memory
from sparsenum.sparse import CSR, rows_times_sparse, transpose
from sparsenum.sparse.formats import index_type

BLOCK = 512  # rows of the dense matrix that are copied at a time


class EASE(Neighbours):
    """EASE: the linear model that predicts each item from all others, in closed form, pruned.

    EASE [1]_ minimises ``|X - X B|^2 + reg |B|^2`` with a zero diagonal: B_ij = -P_ij / P_jj with
    P = (X'X + reg I)^-1. Here interactions weigh ``d_u^(-user_power/2) d_i^-item_power`` for users
    and items with d events, so that neither busy users nor popular items drown the rest, and of
    what that leads to the largest entries stay, within the budget.

    The matrix is dense until then: float64, n_items^2, and O(n_items^3) time. For more than some
    ten thousand items other models are the better choice.

    Parameters
    ----------
    budget : int or str, default "2%"
        Weights kept, a share of all n_items^2, or what they take on disk; as for `SparseMF`.
    reg : float, default 4.0
        L2 penalty, in units of the mean weighted square of an item's column.
    user_power : float, default 0.5
        How far busy users are held down, from 0 (the published model).
    item_power : float, default 0.25
        How far popular items are held down, from 0 (the published model).

    Attributes
    ----------
    table_ : CSR, shape (n_items, n_items)
        Row i holds what item i, where taken, adds to the scores of others, float32.

    See Also
    --------
    recsys.SANSA : an approximation for large catalogues.
    recsys.ItemBlend : the default, within a budget.

    References
    ----------
    .. [1] Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> model = recsys.EASE(budget="50%").fit(train)
    >>> model.recommend_from(["CUP-0001", "BAG-0002"], k=3).columns
    ['item', 'score', 'rank']
    """

    name: ClassVar[str] = "ease"

    def __init__(
        self,
        *,
        budget: int | str = "2%",
        reg: float = 4.0,
        user_power: float = 0.5,
        item_power: float = 0.25,
    ) -> None:
        self.budget = budget
        self.reg = reg
        self.user_power = user_power
        self.item_power = item_power

    def _learn(self, train: Interactions) -> CSR:
        """Return the largest weights of the closed form; O(n_items^3), memory 8 n_items^2 bytes."""
        n = train.n_items
        reg, *powers = self._numbers()
        weights = parse_budget(self.budget, n, n)
        require_memory((n, n), "the matrix of all items", "choose SANSA, ItemKNN or SparseMF")
        scaled, scales = normalised(train.matrix, *powers)
        P = inverse(scaled, reg)
        return largest(weights_of(P, scales), weights, n)

    def _numbers(self) -> tuple[float, float, float]:
        """Return reg, user_power and item_power, checked."""
        user_power, item_power = (
            non_negative(value, name, "0 leaves all alike")
            for name, value in (("user_power", self.user_power), ("item_power", self.item_power))
        )
        return positive(self.reg, "reg", "4 is a good start"), user_power, item_power


def normalised(
    matrix: CSR, user_power: float, item_power: float
) -> tuple[CSR, NDArray[np.float64]]:
    """Return d_u^(-user_power/2) d_i^-item_power for what was taken, and d_i^item_power."""
    users, items = (
        np.maximum(counts, 1).astype(np.float64)
        for counts in (matrix.row_counts, matrix.column_counts)
    )
    scales = items**item_power
    by_user = np.repeat(users ** (-user_power / 2), matrix.row_counts)
    return matrix.with_data((by_user / scales[matrix.indices]).astype(np.float32)), scales


def inverse(scaled: CSR, reg: float) -> NDArray[np.float64]:
    """Return (X'X + reg h I)^-1, with h the mean of the diagonal of X'X, by Cholesky in place."""
    n = scaled.shape[1]
    by_item = transpose(scaled)
    P: NDArray[np.float64] = np.empty((n, n), order="F")
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        P[:, start:stop] = rows_times_sparse(by_item, scaled, start, stop).T
    diagonal = np.einsum("ii->i", P)
    diagonal += reg * diagonal.mean()
    P, failed = lapack.dpotrf(P, lower=1, overwrite_a=1)
    if failed:
        raise ValueError("reg must make the matrix of items definite: raise it tenfold")
    P, _ = lapack.dpotri(P, lower=1, overwrite_c=1)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        square = P[start:stop, start:stop]
        square[:] = np.tril(square) + np.tril(square, -1).T
        P[start:stop, stop:] = P[stop:, start:stop].T
    return P


def weights_of(
    P: NDArray[np.float64], scales: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield blocks of rows of B_ij = -P_ij / P_jj s_j / s_i, without the diagonal."""
    columns = scales / np.diag(P)
    for start in range(0, len(P), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(P)))
        block = -P[rows] * columns / scales[rows, None]
        block[rows - start, rows] = 0.0
        yield start, block


def largest(blocks: Iterator[tuple[int, NDArray[np.float64]]], weights: int, n: int) -> CSR:
    """Return the largest entries by magnitude of an (n, n) matrix, without those that are 0."""
    places, values = np.empty(0, np.int64), np.empty(0, np.float32)
    for start, block in blocks:
        flat = block.ravel()
        some = np.flatnonzero(flat)
        places = np.concatenate([places, start * n + some])
        values = np.concatenate([values, flat[some].astype(np.float32)])
        if values.size > weights:
            kept = np.argpartition(-np.abs(values), weights - 1)[:weights]
            places, values = places[kept], values[kept]
    order = np.argsort(places)
    rows, columns = np.divmod(places[order], n)
    counts = np.bincount(rows, minlength=n)
    return CSR.from_counts(counts, columns.astype(index_type(n)), values[order], (n, n))
