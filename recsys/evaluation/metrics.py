"""How good top-k lists are: what they hit of what was held out, and what they show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation import _cpu
from recsys.scores.toplists import Scores, top_items
from sparsenum.sparse import CSR


@dataclass(frozen=True, slots=True)
class Metrics:
    """The quality of the lists of each user with held-out items.

    Attributes
    ----------
    k : int
        Length of the lists.
    users : ndarray of int64
        Rows of the users.
    held : ndarray of int64
        Number of held-out items of each.
    per_user : mapping of str to ndarray of float64
        ``recall`` is hits over held-out items (as LightGCN has it), ``recall_capped`` hits over
        ``min(k, held)``, so that one can always be reached; ``ndcg`` discounts the hit at rank r
        by 1 / log2(r + 1) and divides by the best possible sum; ``hit_rate`` is whether there
        is a hit; ``mrr`` one over the rank of the first. ``novelty`` is the mean of -log2 of the
        share of users who took an item, over the list.
    shown : ndarray of int64, shape (n_items,)
        In how many lists each item stands.
    """

    k: int
    users: NDArray[np.int64]
    held: NDArray[np.int64]
    per_user: Mapping[str, NDArray[np.float64]]
    shown: NDArray[np.int64]

    def means(self) -> dict[str, Any]:
        """Return the means over users, coverage (share of items shown), and how many users."""
        some = self.users.size > 0
        means = {name: float(of.mean()) if some else None for name, of in self.per_user.items()}
        means["coverage"] = float((self.shown > 0).mean()) if some else None
        return {f"{name}@{self.k}": mean for name, mean in means.items()} | {
            "users": int(self.users.size)
        }


def rank(
    scores: Scores,
    held: CSR,
    seen: CSR,
    k: int,
    popularity: NDArray[np.float64] | None = None,
    permitted: NDArray[np.int64] | None = None,
) -> Metrics:
    """Return the metrics of each user with held-out items.

    Items in a user's row of `seen` are neither ranked nor counted as held out; `popularity` holds
    the share of users who took each item, by default that of `seen`. Lists hold `permitted` items
    only, by default all.
    """
    held = without(held, seen)
    counts = held.row_counts
    users = np.flatnonzero(counts)
    surprise = _surprise(seen.column_counts / seen.shape[0] if popularity is None else popularity)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    shown = np.zeros(held.shape[1] + 1, np.int64)
    parts: list[NDArray[np.float64]] = [np.empty((6, 0))]
    for rows, best in top_items(scores, users, k, seen, permitted):
        row = np.repeat(rows, k).astype(np.uint32)
        flat = np.empty(best.indices.size, np.bool_)
        _cpu.mark_seen(held.indptr, held.indices, row, best.indices.ravel(), flat)
        hits = flat.reshape(best.indices.shape)
        n_hits, capped = hits.sum(axis=1), np.minimum(counts[rows], k)
        first = np.where(n_hits > 0, hits.argmax(axis=1) + 1.0, np.inf)
        shown += np.bincount(best.indices.ravel(), minlength=shown.size)
        length = (best.indices < best.n_cols).sum(axis=1)
        parts.append(
            np.stack(
                [
                    n_hits / counts[rows],
                    (hits * discount).sum(axis=1) / ideal[capped],
                    n_hits / capped,
                    n_hits > 0,
                    1.0 / first,
                    surprise[best.indices].sum(axis=1) / np.maximum(length, 1),
                ]
            )
        )
    names = ("recall", "ndcg", "recall_capped", "hit_rate", "mrr", "novelty")
    per_user = dict(zip(names, np.concatenate(parts, axis=1), strict=True))
    return Metrics(k, users, counts[users], per_user, shown[:-1])


def ranking_metrics(
    scores: Scores, held: CSR, seen: CSR, k: int, permitted: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """Return mean Recall@k and NDCG@k over the users with held-out items, as LightGCN has them."""
    means = rank(scores, held, seen, k, permitted=permitted).means()
    return {name: means[name] for name in (f"recall@{k}", f"ndcg@{k}", "users")}


def without(held: CSR, seen: CSR) -> CSR:
    """Return the entries of `held` that are not in `seen`."""
    rows = np.repeat(np.arange(held.shape[0], dtype=np.uint32), held.row_counts)
    known = np.empty(held.nnz, np.bool_)
    _cpu.mark_seen(seen.indptr, seen.indices, rows, held.indices, known)
    return held.only(~known)


def _surprise(popularity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -log2 of the popularity of each item, and 0 for the place of no item.

    What nobody took counts as the rarest item that somebody took.
    """
    rarest = popularity[popularity > 0].min(initial=1.0)
    return np.append(-np.log2(np.maximum(popularity, rarest)), 0.0)
