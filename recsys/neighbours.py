"""Neighbours of items: what was taken together, kept sparse."""

from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys import newcomers
from recsys.factors import take_rows
from recsys.interactions import Interactions
from recsys.recommender import Recommender, rows_from_counts
from recsys.table import Source
from sparsenum._check import choice, positive, whole
from sparsenum.sparse import CSR, row_top_k, rows_times_sparse, transpose

BLOCK = 512  # items whose likeness to all others is held at a time

Likeness = Literal["cosine", "tversky"]


class ItemKNN(Recommender):
    """Score an item by how like it is to what the user took, by the users that both share.

    With c_i users of item i and c_ij of both, the likeness is ``c_ij / (sqrt(c_i c_j) + shrink)``
    (cosine) or ``c_ij / (c_ij + alpha (c_i - c_ij) + beta (c_j - c_ij) + shrink)`` (Tversky;
    1 and 1 make it Jaccard's). Each item keeps the largest few, and the score of item j for a
    user is the sum over the items i taken of the likeness of j where it is a neighbour of i [1]_.

    Parameters
    ----------
    neighbours : int, default 100
        Neighbours that each item keeps at most.
    likeness : {"cosine", "tversky"}, default "cosine"
        How alike two items are.
    shrink : float, default 10.0
        Added to the denominator: pairs with few users count less.
    alpha, beta : float, default 1.0
        Weights of the users of only one item, for "tversky".

    Attributes
    ----------
    table_ : CSR, shape (n_items, n_items)
        The neighbours of each item and their likeness, float32.

    References
    ----------
    .. [1] Deshpande, Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 2004.
    """

    name: ClassVar[str] = "itemknn"
    table_: CSR

    def __init__(
        self,
        *,
        neighbours: int = 100,
        likeness: Likeness = "cosine",
        shrink: float = 10.0,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        self.neighbours = neighbours
        self.likeness = likeness
        self.shrink = shrink
        self.alpha = alpha
        self.beta = beta

    def fit(
        self,
        train: Interactions,
        *,
        valid: Source | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> Self:
        """Find the neighbours of each item.

        Parameters
        ----------
        train : Interactions
            What users took; weights do not count.
        valid, on_epoch
            Not used: there are no epochs to watch.

        Returns
        -------
        ItemKNN
            The fitted model. Cost O(n_items^2) and the number of pairs of items in a user's row,
            in blocks of items.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        k = min(whole(self.neighbours, "neighbours", lower=1), train.n_items)
        choice(self.likeness, "likeness", get_args(Likeness))
        shrink, alpha, beta = (
            0.0 if value == 0 else positive(value, name, "or 0")
            for name, value in (("shrink", self.shrink), ("alpha", self.alpha), ("beta", self.beta))
        )
        taken = train.matrix.with_data(np.ones(train.matrix.nnz, np.float32))
        by_item = transpose(taken)
        users = by_item.row_counts.astype(np.float32)
        tables = []
        for start in range(0, train.n_items, BLOCK):
            stop = min(start + BLOCK, train.n_items)
            both = rows_times_sparse(by_item, taken, start, stop)
            both[np.arange(stop - start), np.arange(start, stop)] = 0.0
            flat = both.ravel()
            place = np.flatnonzero(flat)
            row, column = np.divmod(place, train.n_items)
            own, other, shared = users[start + row], users[column], flat[place]
            if self.likeness == "cosine":
                under = np.sqrt(own * other)
            else:
                under = shared + alpha * (own - shared) + beta * (other - shared)
            flat[place] = shared / (under + np.float32(shrink))
            best = row_top_k(both, k)
            best.indices[best.data <= 0] = train.n_items
            tables.append(best.to_csr())
        counts = np.concatenate([table.row_counts for table in tables])
        indptr = np.zeros(counts.size + 1, np.uint64)
        np.cumsum(counts, out=indptr[1:], dtype=np.uint64)
        indices = np.concatenate([table.indices for table in tables])
        data = np.concatenate([table.data for table in tables])
        self._remember(train)
        self.table_ = CSR(indptr, indices, data, (train.n_items, train.n_items))
        self.history_ = []
        return self

    def scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for users given by row number."""
        taken = take_rows(self.seen_, rows)
        ones = taken.with_data(np.ones(taken.nnz, np.float32))
        block: NDArray[np.float32] = rows_times_sparse(ones, self.table_, 0, rows.size)
        return block

    def fold_in(self, rows: Source, *, user: str | None = None, item: str | None = None) -> Self:
        """Return a model of new users by what they took; this one stays as it is.

        Parameters
        ----------
        rows : table or path
            What the new users took; items that were not in training are left out, and users
            without others.
        user, item : str, optional
            Columns of ids; those of the training table by default.

        Returns
        -------
        ItemKNN
            The same neighbours with the new users in place of the old.

        Raises
        ------
        ValueError
            If no row holds an item of the training.
        """
        self._fitted()
        guests = copy(self)
        guests.users_, guests.seen_ = newcomers.histories(self, rows, user, item)
        return guests

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return what each item taken adds to the score of one for a user, by row number."""
        taken = take_rows(self.seen_, np.array([user])).indices
        among = take_rows(self.table_, taken.astype(np.int64))
        here = among.indices == item
        giver = np.repeat(taken, among.row_counts)[here]
        return pl.DataFrame({"item": self.items_.gather(giver), "contribution": among.data[here]})

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the likeness of the neighbours of an item, 0 for all others, by number."""
        row: NDArray[np.float32] = take_rows(self.table_, np.array([item])).to_dense()[0]
        return row

    def report(self) -> dict[str, Any]:
        """Return the number of weights and their bytes."""
        self._fitted()
        return {
            "model": self.name,
            "weights": self.table_.nnz,
            "bytes_values": self.table_.data.nbytes,
            "bytes_indices": self.table_.indices.nbytes,
            "bytes_rows": 4 * self.table_.shape[0],
        }

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        header = {
            "parameters": {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in self.parameters().items()
            }
        }
        return header, {
            "near_counts": self.table_.row_counts.astype(np.uint32),
            "near_indices": self.table_.indices,
            "near_data": self.table_.data,
        }

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model = cls(**header["parameters"])
        model.history_ = []
        counts, indices, data = (arrays[f"near_{part}"] for part in ("counts", "indices", "data"))
        model.table_ = rows_from_counts(counts, indices, data, (shape[1], shape[1]))
        return model
