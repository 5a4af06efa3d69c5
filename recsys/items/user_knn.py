"""Neighbours of users: what those took who took much the same."""

from collections.abc import Callable
from typing import Any, ClassVar, Self, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.required import require_interactions
from recsys.data.table import Source
from recsys.items import _cpu_neighbours
from recsys.items.item_based import ItemBased
from recsys.items.knn import Likeness
from recsys.storage import files
from sparsenum._check import choice, non_negative, whole
from sparsenum.sparse import CSR, transpose


class UserKNN(ItemBased):
    """User neighbours: an item scores by the likeness of the users who took it.

    With d_u items of user u and c_uv that both took, the likeness of user v is
    ``c_uv / (sqrt(d_u d_v) + shrink)`` (cosine) or
    ``c_uv / (c_uv + alpha (d_u - c_uv) + beta (d_v - c_uv) + shrink)`` (Tversky; 1 and 1 make it
    Jaccard's). The score of item j is the sum of the likeness of those among the `neighbours` most
    alike who took it [1]_; whoever took nothing else is none of them. All likes count the same.

    The histories of the training are the model: there is nothing else to store, and whoever has a
    history is served by them, known in training or not.

    Parameters
    ----------
    neighbours : int, default 100
        Users who count at most.
    likeness : {"cosine", "tversky"}, default "cosine"
        How alike two users are.
    shrink : float, default 0.0
        Added to the denominator: pairs with few items count less.
    alpha, beta : float, default 1.0
        Weights of what only the user took, and only the neighbour, for "tversky".

    Attributes
    ----------
    histories_ : CSR, shape (n_users, n_items)
        Items of each user of the training, of which the pattern counts.

    References
    ----------
    .. [1] Sarwar, Karypis, Konstan, Riedl, "Analysis of recommendation algorithms for e-commerce",
       EC 2000.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> bought = ["tea", "mug", "tea", "mug", "tea"]
    >>> events = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": bought})
    >>> train = recsys.Interactions.read(events, user="user", item="item")
    >>> recsys.UserKNN(neighbours=1).fit(train).recommend([3], k=1)["item"].to_list()
    ['mug']
    """

    name: ClassVar[str] = "userknn"
    histories_: CSR
    _holders: CSR

    def __init__(
        self,
        *,
        neighbours: int = 100,
        likeness: Likeness = "cosine",
        shrink: float = 0.0,
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
        """Keep what users took.

        Parameters
        ----------
        train : Interactions
            What users took; weights tell what is liked, but not how much.
        valid, on_epoch
            Not used: there are no epochs to watch.

        Returns
        -------
        UserKNN
            The fitted model. Cost O(nnz).

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        require_interactions(train)
        self._rule()
        self._remember(train)
        self._keep(train.matrix)
        self.history_ = []
        return self

    def scores_of(self, taken: CSR) -> NDArray[np.float32]:
        """Return the scores of all items for users with these rows of interactions."""
        scores = np.zeros(taken.shape, np.float32)
        pattern = taken.indptr, taken.indices
        _cpu_neighbours.likely_users(pattern, *self._sides(), self._rule(), scores)
        return scores

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return what each item taken adds to the score of one for a user, by row number.

        What a neighbour adds is split evenly among the items shared with them.
        """
        taken = self.seen_.take(np.array([user])).indices
        parts = np.zeros(taken.size, np.float32)
        _cpu_neighbours.split_by_item(taken, item, *self._sides(), self._rule(), parts)
        return pl.DataFrame({"item": self.items_.gather(taken), "contribution": parts})

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the scores of all items for a history of that one, by number."""
        ends = np.array([0, 1], np.uint64)
        one = np.array([item], np.uint32), np.ones(1, np.float32)
        row: NDArray[np.float32] = self.scores_of(CSR(ends, *one, (1, self.items_.len())))[0]
        return row

    def report(self) -> dict[str, Any]:
        """Return the number of pairs that the model holds and their bytes."""
        self._fitted()
        return {
            "model": self.name,
            "weights": self.histories_.nnz,
            "bytes_values": 0,
            "bytes_indices": self.histories_.indices.nbytes,
            "bytes_rows": 4 * self.histories_.shape[0],
        }

    def _rule(self) -> tuple[int, np.float32, np.float32, np.float32, int]:
        """Return the likeness as kernels take it, and the number of neighbours, checked."""
        kind = choice(self.likeness, "likeness", get_args(Likeness))
        shrink, alpha, beta = (
            np.float32(non_negative(value, name, "0 leaves it out"))
            for name, value in (("shrink", self.shrink), ("alpha", self.alpha), ("beta", self.beta))
        )
        k = whole(self.neighbours, "neighbours", lower=1)
        return get_args(Likeness).index(kind), shrink, alpha, beta, k

    def _sides(self) -> tuple[tuple[NDArray[Any], ...], tuple[NDArray[Any], ...]]:
        """Return the items of each user and the users of each item, as (indptr, indices)."""
        return self.histories_.arrays[:2], self._holders.arrays[:2]

    def _keep(self, histories: CSR) -> None:
        self.histories_, self._holders = histories, transpose(histories)

    def _with_rows(self, rows: NDArray[np.int64]) -> Self:
        """Return the model of some of its users; the others are nobody's neighbours any more."""
        some = super()._with_rows(rows)
        if self._serves(self.histories_):  # and not others, who were folded in
            some._keep(self.histories_.take(rows))
        return some

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        header = {"parameters": files.plain(self.parameters())}
        counts = self.histories_.row_counts.astype(np.uint32)
        arrays = {"histories_counts": counts, "histories_indices": self.histories_.indices}
        return header, arrays

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model = cls(**header["parameters"])
        model.history_ = []
        model._rule()
        counts, indices = (arrays[f"histories_{part}"] for part in ("counts", "indices"))
        ones = np.ones(indices.size, np.float32)
        model._keep(files.rows_from_counts(counts, indices, ones, (counts.size, shape[1])))
        return model
