"""The methods of all models of items alone: they serve any user with a history."""

from abc import abstractmethod
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

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

    def for_users(self, users: pl.Series, taken: CSR, touched: CSR | None = None) -> Self:
        """Return the same model for other users by what they took."""
        return self._with_users(users, taken, touched)

    def _serves(self, histories: CSR) -> bool:
        """Return whether histories of the training are those of the users that are served."""
        return np.array_equal(histories.indptr, self.seen_.indptr) and np.array_equal(
            histories.indices, self.seen_.indices
        )
