"""What serving is built on: the scores of a fitted model, for users who come and go."""

from abc import abstractmethod
from copy import copy
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.table import Source
from recsys.data.vocabulary import Ids
from recsys.scores.toplists import Scores
from recsys.serving import newcomers
from recsys.serving.estimator import Estimator
from recsys.serving.fitted import ids_of, known
from sparsenum._device import on_cuda
from sparsenum.sparse import CSR


class Servable(Estimator):
    """A model that scores every item for a user; subclasses say how."""

    @abstractmethod
    def scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for users given by row number, (len(rows), n_items)."""

    @property
    def scorer(self) -> Scores:
        """The scorer that lists are made with; models with a faster one override it."""
        return self.scores

    def scorer_on(self, device: str) -> Scores:
        """Return the scorer that lists are made with, on the CPU or on a CUDA device."""
        if not on_cuda(device):
            return self.scorer
        from recsys.scores.on_cuda import on_device  # which imports numba.cuda

        return on_device(self.scorer, type(self).__name__)

    def for_users(self, users: pl.Series, taken: CSR, touched: CSR | None = None) -> Self:
        """Return the same model for other users by what they took, if it can be had.

        What they only touched is not recommended to them.
        """
        raise ValueError(
            f"{type(self).__name__} cannot fold in new users; choose unknown='popular', or a "
            "SparseMF or a model that knows items alone"
        )

    def fold_in(self, rows: Source, *, user: str | None = None, item: str | None = None) -> Self:
        """Return a model of new users by what they took, without training; this one stays as it is.

        Parameters
        ----------
        rows : table or path
            What the new users took; items that were not in training are left out, and users
            without others.
        user, item : str, optional
            Columns of ids; those of the training table by default.

        Returns
        -------
        Recommender
            The same items with the new users in place of the old: recommend, evaluate and
            explain as ever.

        Raises
        ------
        ValueError
            If no row holds an item of the training, or the model cannot take new users in.
        """
        self._fitted()
        return self.for_users(*newcomers.histories(self, rows, user, item))

    def forget(self, users: Ids) -> Self:
        """Return the model without some users: their ids, what they took, and their parameters.

        What the items have learned from them stays; train without their rows to be rid of it.

        Parameters
        ----------
        users : sequence of ids
            Users of the training.

        Returns
        -------
        Recommender
            The model of all others; this one stays as it is.

        Raises
        ------
        ValueError
            If a user was not in training, or none is left.
        """
        self._fitted()
        gone = known(self.known_users, users, "users")
        left = np.setdiff1d(np.arange(self.users_.len()), gone)
        if not left.size:
            raise ValueError("users must leave a user to serve: got all of them")
        return self._with_rows(left)

    def _with_rows(self, rows: NDArray[np.int64]) -> Self:
        """Return the model of some of its users."""
        touched = None if self.touched_ is None else self.touched_.take(rows)
        some = self._with_users(ids_of(self.users_, rows), self.seen_.take(rows), touched)
        some.has_histories = self.has_histories
        return some

    def _with_users(self, users: pl.Series, taken: CSR, touched: CSR | None) -> Self:
        """Return the model with other users, and what these took and touched."""
        others = copy(self)
        others.has_histories = True
        others.users_, others.seen_, others.touched_ = users, taken, touched
        return others

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return parts that add up to a score, by row numbers, for models that have such parts."""
        raise ValueError(f"{type(self).__name__} has no parts of a score to explain it by")

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the similarity of each item to one, by number, for models that define it."""
        raise ValueError(f"{type(self).__name__} does not know which items are alike")
