"""Neighbours of items by a short walk: from an item to one of its users, and on to an item."""

from typing import ClassVar

import numpy as np

from recsys.data.interactions import Interactions
from recsys.items import _cpu_neighbours
from recsys.items.neighbours import Neighbours
from recsys.storage.budget import parse_budget
from sparsenum._check import non_negative, whole
from sparsenum.sparse import CSR, transpose
from sparsenum.sparse.formats import index_type, row_starts
from sparsenum.topology import allocate

TINY = np.finfo(np.float32).tiny  # what a way weighs at least: what weighs nothing is no way


class RP3beta(Neighbours):
    """RP3beta: items score by the walks that lead to them from what a user took.

    With d_u items of user u and d_i users of item i, a walk from item i through one of its users
    to item j weighs ``d_i^-alpha d_u^-alpha d_j^-beta``, and walks from i to j add up over their
    users [1]_: at alpha = 1, beta = 0 to the chance that a random walk takes. beta holds popular
    items down. Each item keeps the largest few, and the score of item j for a user is the sum over
    the items taken. No table of all items exists: cost O(sum of d_u^2).

    Parameters
    ----------
    neighbours : int, default 100
        Neighbours that each item keeps at most.
    budget : int or str, optional
        Weights kept in all, a share of n_items^2, or what they take on disk, as for `EASE`; all
        items have as many. By default only `neighbours` bounds them.
    alpha : float, default 0.5
        Power of the numbers of items and users that a walk starts from and leads through.
    beta : float, default 0.2
        Power of the number of users of the item that a walk ends at.

    Attributes
    ----------
    table_ : CSR, shape (n_items, n_items)
        Row i holds what item i, where taken, adds to the scores of others, float32.

    References
    ----------
    .. [1] Paudel, Christoffel, Newell, Bernstein, "Updatable, accurate, diverse, and scalable
       recommendations for interactive applications", ACM TiiS 2016.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> bought = ["tea", "mug", "tea", "mug", "tea"]
    >>> events = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": bought})
    >>> train = recsys.Interactions.read(events, user="user", item="item")
    >>> recsys.RP3beta(neighbours=1).fit(train).recommend([3], k=1)["item"].to_list()
    ['mug']
    """

    name: ClassVar[str] = "rp3beta"

    def __init__(
        self,
        *,
        neighbours: int = 100,
        budget: int | str | None = None,
        alpha: float = 0.5,
        beta: float = 0.2,
    ) -> None:
        self.neighbours = neighbours
        self.budget = budget
        self.alpha = alpha
        self.beta = beta

    def _learn(self, train: Interactions) -> CSR:
        """Return the best of what each item leads to; O(sum of squared lengths of histories)."""
        n = train.n_items
        most = min(whole(self.neighbours, "neighbours", lower=1), n)
        alpha, beta = (
            non_negative(value, name, "0 leaves all alike")
            for name, value in (("alpha", self.alpha), ("beta", self.beta))
        )
        weights = n * most
        if self.budget is not None:
            weights = min(parse_budget(self.budget, n, n), weights)
        matrix = train.matrix
        lengths, counts = (
            np.maximum(of, 1).astype(np.float64) for of in (matrix.row_counts, matrix.column_counts)
        )
        through, source, target = (
            np.maximum(of**-power, TINY).astype(np.float32)
            for of, power in ((lengths, alpha), (counts, alpha), (counts, beta))
        )
        by_item = transpose(matrix)
        starts = row_starts(allocate(weights, np.ones(n), lower=1, upper=most)).view(np.int64)
        found = np.zeros(n, np.int64)
        indices, data = np.empty(weights, index_type(n)), np.empty(weights, np.float32)
        _cpu_neighbours.near_items(
            (matrix.indptr, matrix.indices),
            (by_item.indptr, by_item.indices),
            through,
            source,
            target,
            starts,
            found,
            indices,
            data,
        )
        used = np.arange(weights) - np.repeat(starts[:-1], np.diff(starts)) < np.repeat(
            found, np.diff(starts)
        )
        return CSR.from_counts(found, indices[used], data[used], (n, n))
