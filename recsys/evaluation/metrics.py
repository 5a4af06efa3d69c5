"""Metrics of top-k lists: held-out items hit, and items shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation import _cpu
from recsys.scores.toplists import Scores, top_items
from sparsenum.sparse import CSR

NAMES = ("recall", "ndcg", "recall_capped", "hit_rate", "mrr", "precision", "map", "novelty")


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
        is a hit; ``mrr`` one over the rank of the first; ``precision`` hits over k; ``map`` the
        sum over hits of the share of hits up to there, over ``min(k, held)``. ``novelty`` is the
        mean of -log2 of the share of users who took an item, over the list.
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
    """Return the metrics of lists of one length; see `rank_at`."""
    return rank_at(scores, held, seen, [k], popularity, permitted)[0]


def rank_at(
    scores: Scores,
    held: CSR,
    seen: CSR,
    lengths: Sequence[int],
    popularity: NDArray[np.float64] | None = None,
    permitted: NDArray[np.int64] | None = None,
) -> list[Metrics]:
    """Return the metrics of each user with held-out items, for lists of each length.

    Items in a user's row of `seen` are neither ranked nor counted as held out; `popularity` holds
    the share of users who took each item, by default that of `seen`. Lists hold `permitted` items
    only, by default all. The lists are made once, of the largest length.
    """
    held = without(held, seen)
    counts = held.row_counts
    users = np.flatnonzero(counts)
    surprise = _surprise(seen.column_counts / seen.shape[0] if popularity is None else popularity)
    shown = [np.zeros(held.shape[1] + 1, np.int64) for _ in lengths]
    parts: list[list[NDArray[np.float64]]] = [[np.empty((len(NAMES), 0))] for _ in lengths]
    longest = min(max(lengths), held.shape[1])
    for rows, best in top_items(scores, users, longest, seen, permitted):
        row = np.repeat(rows, longest).astype(np.uint32)
        flat = np.empty(best.indices.size, np.bool_)
        _cpu.mark_seen(held.indptr, held.indices, row, best.indices.ravel(), flat)
        hits = flat.reshape(best.indices.shape)
        for k, counted, part in zip(lengths, shown, parts, strict=True):
            items = best.indices[:, :k]
            counted += np.bincount(items.ravel(), minlength=counted.size)
            part.append(_measured(hits[:, :k], items, counts[rows], k, surprise))
    return [
        Metrics(
            k,
            users,
            counts[users],
            dict(zip(NAMES, np.concatenate(part, axis=1), strict=True)),
            counted[:-1],
        )
        for k, counted, part in zip(lengths, shown, parts, strict=True)
    ]


def _measured(
    hits: NDArray[np.bool_],
    items: NDArray[np.unsignedinteger[Any]],
    held: NDArray[np.int64],
    k: int,
    surprise: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return a row for each of the NAMES, of lists given by their items and which are hits."""
    places = np.arange(1, hits.shape[1] + 1)
    discount = 1.0 / np.log2(places + 1)
    n_hits, capped = hits.sum(axis=1), np.minimum(held, k)
    first = np.where(n_hits > 0, hits.argmax(axis=1) + 1.0, np.inf)
    length = (items < surprise.size - 1).sum(axis=1)
    # Sums by row, and no product of a BLAS, so that a user's metrics never depend on company.
    return np.stack(
        [
            n_hits / held,
            (hits * discount).sum(axis=1)
            / np.cumsum(discount)[np.minimum(capped, places.size) - 1],
            n_hits / capped,
            n_hits > 0,
            1.0 / first,
            n_hits / k,
            (hits * np.cumsum(hits, axis=1) / places).sum(axis=1) / capped,
            surprise[items].sum(axis=1) / np.maximum(length, 1),
        ]
    )


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
