"""Why an item stands in a list: the parts of its score, and what the user took that is like it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.vocabulary import Ids
from recsys.serving.fitted import Fitted, ids_of, known
from sparsenum._check import whole
from sparsenum.sparse import row_top_k

BLOCK = 256  # users whose scores of all items are held at a time


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of one item for one user, taken apart.

    Attributes
    ----------
    score : float
        What `recommend` ranks the item by.
    contributions : DataFrame
        Parts that add up to the score, to rounding, the largest first: by ``column`` of the
        tables, or by the ``item`` taken where the model scores by items.
    because : DataFrame
        What the user took, ``item`` and ``similarity`` to the item explained, most alike first.
    """

    score: float
    contributions: pl.DataFrame
    because: pl.DataFrame


def explain(model: Fitted, user: Any, item: Any) -> Explanation:
    """Return the parts of the score of an item for a user."""
    row = int(known(model.known_users, [user], "user")[0])
    column = int(known(model.known_items, [item], "item")[0])
    parts = _falling(model.contributions(row, column), "contribution")
    taken = model.seen_.indices[slice(*model.seen_.indptr[row : row + 2])]
    alike = model.similarities(column)[taken]
    because = pl.DataFrame({"item": ids_of(model.items_, taken), "similarity": alike})
    score = float(scores_of(model, np.array([row]), np.array([column]))[0])
    return Explanation(score, parts, _falling(because, "similarity"))


def score(model: Fitted, users: Ids, items: Ids) -> NDArray[np.float32]:
    """Return the scores of pairs of users and items."""
    rows, columns = (
        known(model.known_users, users, "users"),
        known(model.known_items, items, "items"),
    )
    if rows.size != columns.size:
        raise ValueError(
            f"users and items must be as many: got {rows.size:,} and {columns.size:,}; name a "
            "user for each item"
        )
    return scores_of(model, rows, columns)


def scores_of(
    model: Fitted, users: NDArray[np.int64], items: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the scores of pairs by row numbers: those that lists are made of."""
    scorer = model.scorer_on("cpu")
    rows, pair = np.unique(users, return_inverse=True)
    scores = np.empty(users.size, np.float32)
    for start in range(0, rows.size, BLOCK):
        inside = np.flatnonzero((pair >= start) & (pair < start + BLOCK))
        block = scorer(rows[start : start + BLOCK])
        scores[inside] = block[pair[inside] - start, items[inside]]
    return scores


def similar_items(model: Fitted, items: Any, k: int | None) -> pl.DataFrame:
    """Return the k items most like one, or most like each of several."""
    one = isinstance(items, str | bytes) or not isinstance(items, Sequence | pl.Series | np.ndarray)
    ids = [items] if one else items
    numbers = known(model.known_items, ids, "item" if one else "items")
    n_items = model.items_.len()
    k = min(20, n_items) if k is None else whole(k, "k", lower=1, upper=n_items)
    of, alike, values, ranks = (
        np.concatenate(parts) for parts in zip(*_alike(model, numbers, k), strict=True)
    )
    columns = [
        ids_of(model.items_, alike).alias("item"),
        pl.Series("similarity", values),
        pl.Series("rank", ranks),
    ]
    return pl.DataFrame(columns if one else [ids_of(model.items_, of).alias("of"), *columns])


def _alike(
    model: Fitted, numbers: NDArray[np.int64], k: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Yield, of each item, its number, those most like it, how like they are, and their ranks."""
    for number in numbers.tolist():
        similarities = model.similarities(number)
        similarities[number] = -np.inf
        best = row_top_k(similarities[None], k)
        used = best.indices < best.n_cols
        n = int(used.sum())
        yield (
            np.full(n, number, np.uint32),
            best.indices[used],
            best.data[used],
            np.arange(1, n + 1, dtype=np.uint32),
        )


def _falling(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return a table in falling order of a column, without polars' engine."""
    order = np.argsort(-table[column].to_numpy(), kind="stable")
    return pl.DataFrame([ids_of(each, order) for each in table.get_columns()])
