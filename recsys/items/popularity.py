"""The model that learns least: popularity."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.required import require_interactions
from recsys.data.table import Source
from recsys.serving.recommender import Recommender


class Popularity(Recommender):
    """Popularity: items are scored by their number of users, the same for everybody.

    Attributes
    ----------
    counts_ : ndarray of float32, shape (n_items,)
        Users who have taken each item.

    See Also
    --------
    recsys.ItemKNN : the simplest model that looks at a user's items.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> bought = ["tea", "mug", "tea", "pot", "tea"]
    >>> events = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": bought})
    >>> model = recsys.Popularity().fit(recsys.Interactions.read(events, user="user", item="item"))
    >>> model.recommend([3], k=2)["item"].to_list()
    ['mug', 'pot']
    """

    name: ClassVar[str] = "popularity"
    has_users: ClassVar[bool] = False
    counts_: NDArray[np.float32]

    def fit(
        self,
        train: Interactions,
        *,
        valid: Source | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> Self:
        """Count the users of each item.

        Parameters
        ----------
        train : Interactions
            What users took.
        valid, on_epoch
            Not used: counting has no epochs to watch.

        Returns
        -------
        Popularity
            The fitted model. Cost O(nnz).
        """
        require_interactions(train)
        self._remember(train)
        self.history_ = []
        counts = np.bincount(train.matrix.indices, minlength=train.n_items)
        self.counts_ = counts.astype(np.float32)
        return self

    def scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the counts of all items, once for each user."""
        return np.tile(self.counts_, (rows.size, 1))

    def report(self) -> dict[str, Any]:
        """Return the number of weights and their bytes."""
        self._fitted()
        size = self.counts_.size
        return {"model": self.name, "weights": size, "bytes_values": self.counts_.nbytes}

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"counts": self.counts_}

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model = cls()
        model.history_ = []
        model.counts_ = arrays["counts"]
        if model.counts_.dtype != np.float32 or model.counts_.shape != shape[1:]:
            raise ValueError("the file's counts do not fit its items")
        return model
