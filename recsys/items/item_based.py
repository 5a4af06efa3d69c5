"""What all models can do that know items alone: serve whoever has a history."""

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import lookup
from recsys.data.table import Source
from recsys.serving import newcomers
from recsys.serving.recommender import Recommender
from sparsenum.sparse import CSR


class ItemBased(Recommender):
    """A model that scores items by what a user took; it holds no parameters of users.

    So whoever has taken anything is served as well as those it was trained on.
    """

    has_users: ClassVar[bool] = False

    @abstractmethod
    def scores_of(self, taken: CSR) -> NDArray[np.float32]:
        """Return the scores of all items for users with these rows of interactions."""

    def scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for users given by row number."""
        return self.scores_of(self.seen_.take(rows))

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
        ItemBased
            The same model with the new users in place of the old.

        Raises
        ------
        ValueError
            If no row holds an item of the training.
        """
        self._fitted()
        guests = copy(self)
        guests.has_histories = True
        guests.users_, guests.seen_, guests.touched_ = newcomers.histories(self, rows, user, item)
        return guests

    def recommend_from(
        self,
        history: Sequence[Any] | pl.Series,
        k: int = 20,
        *,
        exclude_seen: bool = True,
        allow: Sequence[Any] | pl.Series | None = None,
        deny: Sequence[Any] | pl.Series | None = None,
    ) -> pl.DataFrame:
        """Return the k best items for somebody who took these, known or not.

        Parameters
        ----------
        history : sequence of ids
            Items taken; those that were not in training are left out.
        k, exclude_seen, allow, deny
            As for `recommend`.

        Returns
        -------
        DataFrame
            Columns item, score and rank (from 1).

        Raises
        ------
        ValueError
            If no item was in training, or as `recommend`.
        """
        self._fitted()
        places = lookup(self.items_, history)
        known = np.unique(places[places >= 0])
        if not known.size:
            raise ValueError(
                f"history must hold items of the training: got {len(history):,}, none of them known"
            )
        guest = copy(self)
        guest.has_histories = True
        guest.users_ = pl.Series([0])
        indptr = np.array([0, known.size], np.uint64)
        ones = np.ones(known.size, np.float32)
        guest.touched_ = None
        guest.seen_ = CSR(indptr, known.astype(np.uint32), ones, (1, self.items_.len()))
        return guest.recommend("all", k, exclude_seen=exclude_seen, allow=allow, deny=deny).drop(
            "user"
        )
