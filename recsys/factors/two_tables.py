"""Models that are two sparse tables: what they score, show, report and store."""

from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.scores.factor_scores import FactorScores
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
    def scorer(self) -> Any:
        """What gives scores for users by row number, and the best of them without all others."""
        return FactorScores(self.user_table_, self.item_table_)

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
        model.n_weights_, model.history_ = header["budget"], header["history"]
        if model.n_weights_ != tables[0].nnz + tables[1].nnz:
            raise ValueError("the file's tables do not hold the weights of its budget")
        return model
