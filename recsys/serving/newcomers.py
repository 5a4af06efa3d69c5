"""Users and items that came after the training, in the model's numbering."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions, read_pairs
from recsys.data.table import Source, open_table
from recsys.data.vocabulary import Ids, lookup, same_type
from recsys.evaluation.metrics import without
from recsys.serving.fitted import Fitted
from sparsenum.sparse import CSR


def guests(model: Fitted, rows: Source) -> Fitted:
    """Return the model of the users of a table: of new ones, and of known ones with what is new.

    What known users took and touched in training counts together with their rows of the table.
    """
    users, taken, touched = histories(model, rows, None, None)
    known = model.known_users.places(users)
    here = np.flatnonzero(known >= 0)
    places = np.full(model.users_.len(), -1, np.int64)
    places[known[here]] = here
    items = np.arange(model.items_.len())
    taken = _added(taken, _moved(model.seen_, places, items, taken.shape))
    if model.touched_ is not None:
        touched = _added(touched, _moved(model.touched_, places, items, taken.shape))
    return model.for_users(users, taken, without(touched, taken))


def one_history(model: Fitted, history: Ids) -> CSR:
    """Return a row of the items that somebody took."""
    places = model.known_items.places(history)
    known = np.unique(places[places >= 0])
    if not known.size:
        raise ValueError(
            f"history must hold items of the training: got {len(history):,}, none of them known"
        )
    indptr, ones = np.array([0, known.size], np.uint64), np.ones(known.size, np.float32)
    return CSR(indptr, known.astype(np.uint32), ones, (1, model.items_.len()))


def histories(
    model: Fitted, rows: Source, user: str | None, item: str | None
) -> tuple[pl.Series, CSR, CSR]:
    """Return the users of a table, and which of the model's items each has taken, or only touched.

    Weights mean what they mean in training; without a column of weights, all was taken.
    """
    user, item = user or str(model.columns_["user"]), item or str(model.columns_["item"])
    weight, reading = model.columns_["weight"], model.reading_
    there = open_table(rows, {"user": user, "item": item}, name="rows").collect_schema()
    new = Interactions.read(
        rows,
        user=user,
        item=item,
        weight=weight if weight in there else None,
        min_weight=reading.min_weight,
        duplicates="sum" if reading.duplicates == "error" else reading.duplicates,
    )
    users = same_type(new.users, model.users_, "user")
    items = lookup(model.items_, new.items)
    row, column = _pairs(new.matrix)
    known = items[column] >= 0
    some = np.unique(row[known])
    if not some.size:
        raise ValueError(
            f"rows must hold items of the training: got {new.n_items:,} items, none of them known"
        )
    places = np.full(new.n_users, -1)
    places[some] = np.arange(some.size)
    taken = _moved(new.matrix, places, items, (some.size, model.items_.len()))
    # Items that nobody here likes are in no vocabulary but the model's.
    held = read_pairs(
        rows,
        user=user,
        item=item,
        weight=weight,
        users=new.users.gather(some),
        items=model.items_,
        reading=reading,
    )
    return users.gather(some), taken, held.touched


def joined(model: Fitted, new: Interactions) -> tuple[pl.Series, pl.Series, CSR, CSR]:
    """Return users, items, what was taken and what was touched, of a model with new interactions.

    Known ids keep their place. What stands in both has the sum of the weights.
    """
    users, user_places = _extended(model.users_, same_type(new.users, model.users_, "user"))
    items, item_places = _extended(model.items_, same_type(new.items, model.items_, "item"))
    shape = users.len(), items.len()
    old_users, old_items = (np.arange(n) for n in model.seen_.shape)
    taken = _added(
        _moved(model.seen_, old_users, old_items, shape),
        _moved(new.matrix, user_places, item_places, shape),
    )
    touched = _moved(new.touched, user_places, item_places, shape)
    if model.touched_ is not None:
        touched = _added(_moved(model.touched_, old_users, old_items, shape), touched)
    return users, items, taken, without(touched, taken)


def _extended(known: pl.Series, ids: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """Return the known ids followed by those of `ids` that are new, and the place of each id."""
    places = lookup(known, ids)
    new = places < 0
    places[new] = known.len() + np.arange(new.sum())
    return pl.concat([known, ids.filter(pl.Series(new)).alias(known.name)]), places


def _pairs(matrix: CSR) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    row = matrix.rows
    return row, matrix.indices.astype(np.int64)


def _moved(
    matrix: CSR, rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]
) -> CSR:
    """Return the entries at the places that rows and columns now have, but those that have none."""
    row, column = _pairs(matrix)
    row, column = rows[row], columns[column]
    known = (row >= 0) & (column >= 0)
    return _matrix(row[known], column[known], matrix.data[known], shape)


def _added(first: CSR, second: CSR) -> CSR:
    """Return the sum of two matrices of one shape."""
    (row, column), (more_rows, more_columns) = _pairs(first), _pairs(second)
    rows, columns = np.concatenate([row, more_rows]), np.concatenate([column, more_columns])
    return _matrix(rows, columns, np.concatenate([first.data, second.data]), first.shape)


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
