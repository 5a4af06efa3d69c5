"""Why an item stands in a list: the parts of its score, and what the user took that is like it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys.data.interactions import lookup
from sparsenum._check import whole
from sparsenum.sparse import row_top_k

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of one item for one user, taken apart.

    Attributes
    ----------
    score : float
        What `recommend` ranks the item by.
    contributions : DataFrame
        Parts that add up to the score, the largest first: by ``column`` of the tables, or by the
        ``item`` taken where the model scores by items.
    because : DataFrame
        What the user took, ``item`` and ``similarity`` to the item explained, most alike first.
    """

    score: float
    contributions: pl.DataFrame
    because: pl.DataFrame


def explain(model: "Recommender", user: Any, item: Any) -> Explanation:
    """Take the score of an item for a user apart."""
    who, what = _row(model.users_, user, "user"), _row(model.items_, item, "item")
    parts = model.contributions(who, what).sort("contribution", descending=True)
    taken = model.seen_.indices[slice(*model.seen_.indptr[who : who + 2])]
    alike = {"item": model.items_.gather(taken), "similarity": model.similarities(what)[taken]}
    because = pl.DataFrame(alike).sort("similarity", descending=True, maintain_order=True)
    return Explanation(float(parts["contribution"].sum()), parts, because)


def similar_items(model: "Recommender", item: Any, k: int) -> pl.DataFrame:
    """Return the k items most like one, best first."""
    k = whole(k, "k", lower=1, upper=model.items_.len())
    row = _row(model.items_, item, "item")
    alike = model.similarities(row)
    alike[row] = -np.inf
    best = row_top_k(alike[None], k)
    used = best.indices < best.n_cols
    return pl.DataFrame(
        {
            "item": model.items_.gather(best.indices[used]),
            "similarity": best.data[used],
            "rank": np.arange(1, used.sum() + 1, dtype=np.uint32),
        }
    )


def _row(ids: pl.Series, wanted: Any, name: str) -> int:
    row = int(lookup(ids, [wanted])[0])
    if row < 0:
        raise ValueError(f"{name} must have been in training: got {wanted!r}")
    return row
