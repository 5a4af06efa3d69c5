"""A sparse approximate inverse in the place of EASE's dense one: for catalogues of any size."""

from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.items import _cpu_sansa
from recsys.items.ease import BLOCK, EASE, normalised
from recsys.storage.budget import parse_budget
from sparsenum.sparse import CSR, rows_times_sparse, spmv, transpose
from sparsenum.sparse.formats import index_type, row_starts
from sparsenum.topology import allocate

HEAD = 4096  # most popular items whose products are held in a dense matrix: others are soon found


class SANSA(EASE):
    """SANSA: EASE's scores by a sparse factor of the inverse that EASE needs.

    With P = (X'X + reg I)^-1 near W'W, the weights of `EASE` are B_ij = -(W'W)_ij / (W'W)_jj,
    which may have many more entries than W, and a user's scores are two sparse products. This is
    the idea of SANSA [1]_. There W inverts an incomplete Cholesky factor; here each row of W is
    found by itself, as the exact solution on its item and a few more popular ones [2]_, which
    never breaks down and loses less to what is dropped. No dense table of the items exists.

    Parameters
    ----------
    budget : int or str, default "2%"
        Weights of W, a share of all n_items^2, or what they take on disk, as for `SparseMF`; one
        for each item at least.
    reg, user_power, item_power
        As for `EASE`.

    Attributes
    ----------
    table_ : CSR, shape (n_items, n_items)
        W, float32.

    See Also
    --------
    recsys.EASE : exact, for catalogues that fit a dense matrix.
    recsys.ItemBlend : the default, within a budget.

    References
    ----------
    .. [1] Spisak, Bartyzal, Hoskovec, Peska, Tuma, "Scalable Approximate NonSymmetric Autoencoder
       for Collaborative Filtering", RecSys 2023.
    .. [2] Kolotilina, Yeremin, "Factorized sparse approximate inverse preconditionings I", SIAM
       Journal on Matrix Analysis and Applications 1993.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> recsys.SANSA(budget="50%").fit(train).recommend(["C00019", "C00029"], k=3).height
    6
    """

    name: ClassVar[str] = "sansa"

    def _learn(self, train: Interactions) -> CSR:
        """Return W; cost O(pairs of items in a user's row + n_items k^3) for rows of k weights."""
        weights = parse_budget(self.budget, train.n_items, train.n_items)
        reg, *powers = self._numbers()
        scaled, scales = normalised(train.matrix, *powers)
        order = np.argsort(-train.matrix.column_counts, kind="stable")
        K = inverse_factor(relabelled(scaled, np.argsort(order)), reg, weights)
        W = relabelled(K, order)
        return W.with_data((W.data / scales[W.indices]).astype(np.float32))

    def scores_of(self, taken: CSR) -> NDArray[np.float32]:
        """Return the scores of all items for users with these rows of interactions."""
        rows = taken.shape[0]
        ones = taken.with_data(np.ones(taken.nnz, np.float32))
        by_item, squares = self._for_scoring()
        inner = rows_times_sparse(ones, by_item, 0, rows)
        # Much of it is zero: what is not goes on as a sparse matrix.
        row, column = np.nonzero(inner)
        counts = np.bincount(row, minlength=rows)
        some = CSR.from_counts(counts, column.astype(np.uint32), inner[row, column], inner.shape)
        scores: NDArray[np.float32] = rows_times_sparse(some, self.table_, 0, rows)
        scores /= -squares
        # B has no diagonal: an item says nothing of itself.
        scores[taken.rows, taken.indices] += np.float32(1)
        return scores

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return what each item taken adds to the score of one for a user, by row number."""
        taken = self.seen_.take(np.array([user])).indices
        parts = self._product(item)[taken] / -self._for_scoring()[1][item]
        parts[taken == item] = 0.0
        return pl.DataFrame({"item": self.items_.gather(taken), "contribution": parts})

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return what an item adds to the scores of all, by number."""
        similarities: NDArray[np.float32] = self._product(item) / -self._for_scoring()[1]
        return similarities

    def _product(self, item: int) -> NDArray[np.float32]:
        """Return a column of W'W."""
        by_item, _ = self._for_scoring()
        column = by_item.take(np.array([item])).to_dense()[0]
        product: NDArray[np.float32] = spmv(by_item, column)
        return product

    def _for_scoring(self) -> tuple[CSR, NDArray[np.float32]]:
        """Return W' and the diagonal of W'W, kept for one W; each item has a weight there."""
        kept: tuple[CSR, CSR, NDArray[np.float32]] | None = self.__dict__.get("_scored_by")
        if kept is None or kept[0] is not self.table_:
            W = self.table_
            squares = np.bincount(W.indices, W.data.astype(np.float64) ** 2, W.shape[1])
            kept = W, transpose(W), squares.astype(np.float32)
            self.__dict__["_scored_by"] = kept
        return kept[1:]


def inverse_factor(X: CSR, reg: float, weights: int) -> CSR:
    """Return K of at most `weights` weights with K'K near (X'X + reg h I)^-1.

    h is the mean of the diagonal of X'X. K is lower triangular: row i knows the columns before i
    whose products with column i are largest, and there K A K' has ones on its diagonal and the
    least trace.
    """
    n = X.shape[1]
    by_item = transpose(X)
    squares = np.bincount(X.indices, X.data.astype(np.float64) ** 2, n)
    squares += reg * squares.mean()
    weights = min(weights, n * (n + 1) // 2)
    room = allocate(weights, np.ones(n), lower=1, upper=np.arange(1, n + 1))
    indptr = row_starts(room)
    lengths = np.empty(n, np.int64)
    indices, data = np.empty(weights, np.uint32), np.empty(weights, np.float32)
    _cpu_sansa.factor_rows(
        X.arrays,
        by_item.arrays,
        squares.astype(np.float32),
        head_of(X, by_item),
        indptr,
        lengths,
        indices,
        data,
    )
    used = np.arange(weights) - np.repeat(indptr[:-1].astype(np.int64), room) < np.repeat(
        lengths, room
    )
    return CSR.from_counts(lengths, indices[used], data[used], (n, n))


def head_of(X: CSR, by_item: CSR) -> NDArray[np.float32]:
    """Return the first rows and columns of X'X, at most HEAD of them."""
    n = min(X.shape[1], HEAD)
    head = np.empty((n, n), np.float32)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        head[start:stop] = rows_times_sparse(by_item, X, start, stop)[:, :n]
    return head


def relabelled(matrix: CSR, names: NDArray[np.int64]) -> CSR:
    """Return a matrix with column j as column names[j], its rows sorted again."""
    row = matrix.rows
    columns = names[matrix.indices]
    order = np.lexsort((columns, row))
    kind = index_type(matrix.shape[1])
    return CSR(matrix.indptr, columns[order].astype(kind), matrix.data[order], matrix.shape)
