"""Models that are one table: the neighbours of each item and what they weigh."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.required import require_interactions
from recsys.data.table import Source
from recsys.items.item_based import ItemBased
from recsys.storage import files
from sparsenum.sparse import CSR, rows_times_sparse


class Neighbours(ItemBased):
    """Score item j for a user by the sum of what the items taken weigh at j; subclasses say what.

    Attributes
    ----------
    table_ : CSR, shape (n_items, n_items)
        Row i holds what item i, where taken, adds to the scores of its neighbours, float32.
    """

    table_: CSR

    @abstractmethod
    def _learn(self, train: Interactions) -> CSR:
        """Return the table of neighbours."""

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
            What users took; how much a pair is liked counts for `ItemKNN` alone.
        valid, on_epoch
            Not used: there are no epochs to watch.

        Returns
        -------
        Neighbours
            The fitted model.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        require_interactions(train)
        table = self._learn(train)
        self._remember(train)
        self.table_ = table
        self.history_ = []
        return self

    def scores_of(self, taken: CSR) -> NDArray[np.float32]:
        """Return the scores of all items for users with these rows of interactions."""
        ones = taken.with_data(np.ones(taken.nnz, np.float32))
        block: NDArray[np.float32] = rows_times_sparse(ones, self.table_, 0, taken.shape[0])
        return block

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return what each item taken adds to the score of one for a user, by row number."""
        taken = self.seen_.take(np.array([user])).indices
        among = self.table_.take(taken.astype(np.int64))
        here = among.indices == item
        giver = np.repeat(taken, among.row_counts)[here]
        return pl.DataFrame({"item": self.items_.gather(giver), "contribution": among.data[here]})

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the weights of the neighbours of an item, 0 for all others, by number."""
        row: NDArray[np.float32] = self.table_.take(np.array([item])).to_dense()[0]
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
        header = {"parameters": files.plain(self.parameters())}
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
        model.table_ = files.rows_from_counts(counts, indices, data, (shape[1], shape[1]))
        return model
