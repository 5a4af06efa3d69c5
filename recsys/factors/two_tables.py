"""Models that are two sparse tables: what they score, show, report and store."""

from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.vocabulary import Ids
from recsys.scores.factor_scores import FactorScores
from recsys.serving.fitted import known
from recsys.serving.recommender import Recommender
from recsys.storage import files
from recsys.storage.budget import table_sizes
from sparsenum._check import whole
from sparsenum.sparse import CSR

MAX_DIM = 2**16  # columns are stored in 16 bits


class Factored(Recommender):
    """A recommender whose scores are products of the rows of two sparse tables.

    Attributes
    ----------
    user_table_, item_table_ : CSR
        The weights, float32, rows in the order of `users_` and `items_`.
    n_weights_ : int
        The budget in weights; the tables hold exactly as many.
    """

    dim: int
    user_table_: CSR
    item_table_: CSR
    n_weights_: int

    @property
    def scorer(self) -> FactorScores:
        """The scorer of users by row number, which lists the best items without scoring all."""
        kept: FactorScores | None = self.__dict__.get("_scorer")
        if kept is None or kept.items is not self.item_table_:
            kept = FactorScores(self.user_table_, self.item_table_)
        elif kept.users is not self.user_table_:
            kept = kept.of(self.user_table_)
        self.__dict__["_scorer"] = kept
        return kept

    def item_vectors(self) -> NDArray[np.float32]:
        """Return a vector of each item, for an index of nearest neighbours.

        The score of an item for a user is the product of their vectors, to rounding: search by
        the largest inner product.

        Returns
        -------
        ndarray of float32, shape (n_items, dim)
            Vectors in the order of `items_`.
        """
        self._fitted()
        return self.scorer.items.to_dense().astype(np.float32, copy=False)

    def user_vectors(self, users: Ids) -> NDArray[np.float32]:
        """Return a vector of each of some users, to search an index of `item_vectors` with.

        Parameters
        ----------
        users : sequence of ids
            Users of the training.

        Returns
        -------
        ndarray of float32, shape (len(users), dim)
            Vectors in the order of `users`.

        Raises
        ------
        ValueError
            If a user was not in training.
        """
        self._fitted()
        rows = known(self.known_users, users, "users")
        return self.scorer.users.take(rows).to_dense().astype(np.float32, copy=False)

    def _with_table(self, users: pl.Series, taken: CSR, touched: CSR | None, table: CSR) -> Self:
        """Return the model with other users, who have these rows."""
        others = self._with_users(users, taken, touched)
        others.user_table_ = table
        others.n_weights_ = table.nnz + self.item_table_.nnz
        return others

    def _with_rows(self, rows: NDArray[np.int64]) -> Self:
        some = super()._with_rows(rows)
        table = self.user_table_.take(rows)
        return self._with_table(some.users_, some.seen_, some.touched_, table)

    def scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for users given by row number."""
        scores: NDArray[np.float32] = self.scorer(rows)
        return scores

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return what each column adds to the score of an item for a user, by row number."""
        columns, parts = self.scorer.parts(user, item)
        return pl.DataFrame({"column": columns, "contribution": parts})

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the cosine of the row of each item with that of one, by number."""
        cosines: NDArray[np.float32] = self.scorer.cosines(item)
        return cosines

    def report(self) -> dict[str, Any]:
        """Return budget, weights, bytes and density of the tables.

        Returns
        -------
        dict
            ``budget`` (weights), ``optimizer_floats`` (during training), ``weights``,
            ``bytes_values``, ``bytes_indices``, ``bytes_rows`` (as stored), ``dense_weights``
            (of tables without zeros), ``density``, and the same by table under ``tables``.
        """
        self._fitted()
        return {
            "model": self.name,
            "budget": self.n_weights_,
            "optimizer_floats": self.history_[-1]["optimizer_floats"],
            **table_sizes(self.user_table_, self.item_table_),
        }

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays: dict[str, NDArray[Any]] = {}
        for side, table in (("user", self.user_table_), ("item", self.item_table_)):
            # A row has at most 65,536 weights; a full one is stored as its length less one.
            arrays[f"{side}_counts"] = (table.row_counts - 1).astype(np.uint16)
            arrays[f"{side}_indices"] = table.indices
            arrays[f"{side}_data"] = table.data
        header = {
            "parameters": files.plain(self.parameters()),
            "budget": self.n_weights_,
            "history": self.history_,
        }
        return header, arrays

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model = cls(**header["parameters"])
        dim = whole(model.dim, "dim", lower=1, upper=MAX_DIM)
        tables = []
        for side, n in zip(("user", "item"), shape, strict=True):
            counts = arrays[f"{side}_counts"].astype(np.uint32, casting="safe") + np.uint32(1)
            indices, data = arrays[f"{side}_indices"], arrays[f"{side}_data"]
            tables.append(files.rows_from_counts(counts, indices, data, (n, dim)))
        model.user_table_, model.item_table_ = tables
        model.n_weights_ = header["budget"]
        model.history_ = [_respelled(entry) for entry in header["history"]]
        if model.n_weights_ != tables[0].nnz + tables[1].nnz:
            raise ValueError("the file's tables do not hold the weights of its budget")
        return model


def _respelled(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of a ledger as it is spelled now; early files have a British key."""
    return {"optimizer_floats" if k == "optimiser_floats" else k: v for k, v in dict(entry).items()}
