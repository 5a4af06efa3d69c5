"""Neighbours of items: what was taken together, kept sparse."""

from typing import ClassVar, Literal, get_args

import numpy as np

from recsys.data.interactions import Interactions
from recsys.items.confidence import confidence
from recsys.items.neighbours import Neighbours
from sparsenum._check import choice, non_negative, whole
from sparsenum.sparse import CSR, row_top_k, rows_times_sparse, transpose

BLOCK = 512  # items whose likeness to all others is held at a time

Likeness = Literal["cosine", "tversky"]


class ItemKNN(Neighbours):
    """Item neighbours: an item scores by its similarity to the items of the user's history.

    With c_i users of item i and c_ij of both (where weights differ, sums of their confidences
    squared, and of the products of both), the likeness is ``c_ij / (sqrt(c_i c_j) + shrink)``
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

    See Also
    --------
    recsys.EASE : weights learned together.
    recsys.ItemBlend : the default, within a budget.

    References
    ----------
    .. [1] Deshpande, Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 2004.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> bought = ["tea", "mug", "tea", "mug", "tea"]
    >>> events = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": bought})
    >>> train = recsys.Interactions.read(events, user="user", item="item")
    >>> recsys.ItemKNN(neighbours=1).fit(train).recommend([3], k=1)["item"].to_list()
    ['mug']
    """

    name: ClassVar[str] = "itemknn"

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

    def _learn(self, train: Interactions) -> CSR:
        """Return the nearest of each item; O(n_items^2 + pairs in a user's row), in blocks."""
        k = min(whole(self.neighbours, "neighbours", lower=1), train.n_items)
        choice(self.likeness, "likeness", get_args(Likeness))
        shrink, alpha, beta = (
            non_negative(value, name, "0 leaves it out")
            for name, value in (("shrink", self.shrink), ("alpha", self.alpha), ("beta", self.beta))
        )
        taken = confidence(train)
        by_item = transpose(taken)
        users = np.bincount(taken.indices, taken.data**2, train.n_items).astype(np.float32)
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
        indices = np.concatenate([table.indices for table in tables])
        data = np.concatenate([table.data for table in tables])
        return CSR.from_counts(counts, indices, data, (train.n_items, train.n_items))
