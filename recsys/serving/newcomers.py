"""Who and what came after the training: their ids and interactions in the model's numbering."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions, lookup
from recsys.data.table import Source
from sparsenum.sparse import CSR

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


def histories(
    model: "Recommender", rows: Source, user: str | None, item: str | None
) -> tuple[pl.Series, CSR]:
    """Return the users of a table and which of the model's items each has taken."""
    new = Interactions.read(
        rows,
        user=user or str(model.columns_["user"]),
        item=item or str(model.columns_["item"]),
    )
    users = same_type(new.users, model.users_, "user")
    items = lookup(model.items_, new.items)
    row, column = _pairs(new.matrix)
    known = items[column] >= 0
    some, row = np.unique(row[known], return_inverse=True)
    if not some.size:
        raise ValueError(
            f"rows must hold items of the training: got {new.n_items:,} items, none of them known"
        )
    taken = _matrix(
        row, items[column[known]], new.matrix.data[known], (some.size, model.items_.len())
    )
    return users.gather(some), taken


def joined(model: "Recommender", new: Interactions) -> tuple[pl.Series, pl.Series, CSR]:
    """Return users, items and interactions of a model with new ones: known ids keep their place.

    What stands in both has the sum of the weights.
    """
    users, user_places = _extended(model.users_, same_type(new.users, model.users_, "user"))
    items, item_places = _extended(model.items_, same_type(new.items, model.items_, "item"))
    old, row = _pairs(model.seen_), _pairs(new.matrix)
    rows = np.concatenate([old[0], user_places[row[0]]])
    columns = np.concatenate([old[1], item_places[row[1]]])
    data = np.concatenate([model.seen_.data, new.matrix.data])
    return users, items, _matrix(rows, columns, data, (users.len(), items.len()))


def same_type(ids: pl.Series, trained: pl.Series, name: str) -> pl.Series:
    """Return ids in the type of those of the training."""
    try:
        return ids.cast(trained.dtype)
    except pl.exceptions.PolarsError as error:
        fact = str(error).partition("\n")[0]
        raise ValueError(
            f"{name} must have ids of the type of the training, {trained.dtype}: got {ids.dtype} "
            f"({fact}); cast them first"
        ) from None


def _extended(known: pl.Series, ids: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """Return the known ids followed by those of `ids` that are new, and the place of each id."""
    places = lookup(known, ids)
    new = places < 0
    places[new] = known.len() + np.arange(new.sum())
    return pl.concat([known, ids.filter(pl.Series(new)).alias(known.name)]), places


def _pairs(matrix: CSR) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    row = matrix.rows
    return row, matrix.indices.astype(np.int64)


def _matrix(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    data: NDArray[np.floating],
    shape: tuple[int, int],
) -> CSR:
    """Return the matrix of some entries, repeated ones summed."""
    keys, where = np.unique(rows * shape[1] + columns, return_inverse=True)
    row, column = np.divmod(keys, shape[1])
    counts = np.bincount(row, minlength=shape[0])
    total = np.bincount(where, data, keys.size).astype(np.float32)
    return CSR.from_counts(counts, column.astype(np.uint32), total, shape)
