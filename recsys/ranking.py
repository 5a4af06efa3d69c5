"""Top-k lists by blocks of users, and how good they are."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys import _cpu
from sparsenum.sparse import CSR, ELL, row_top_k

BLOCK = 256  # users scored at a time

Scores = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def top_items(
    scores: Scores, users: NDArray[np.int64], k: int, seen: CSR | None
) -> Iterator[tuple[NDArray[np.int64], ELL]]:
    """Yield blocks of users and their k best items, leaving out what is in their row of `seen`.

    A user with fewer than k items left has unused places at the end (see `ELL`).
    """
    for start in range(0, users.size, BLOCK):
        rows = users[start : start + BLOCK]
        block = scores(rows)
        if seen is not None:
            _cpu.hide_seen(seen.indptr, seen.indices, rows, block)
        yield rows, row_top_k(block, k)


def ranking_metrics(scores: Scores, held: CSR, seen: CSR, k: int) -> dict[str, Any]:
    """Return mean Recall@k and NDCG@k over the users with held-out items, as LightGCN has them.

    Recall is hits over the user's number of held-out items. NDCG discounts the hit at rank r by
    1 / log2(r + 1) and divides by the best possible sum for min(k, held-out items) hits. Items in
    a user's row of `seen` are neither ranked nor counted as held out.
    """
    held = without(held, seen)
    counts = held.row_counts
    users = np.flatnonzero(counts)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    recall, gain = np.zeros(users.size), np.zeros(users.size)
    wanted = np.repeat(np.arange(counts.size), counts) * held.shape[1] + held.indices
    done = 0
    for rows, best in top_items(scores, users, k, seen):
        keys = rows[:, None] * held.shape[1] + best.indices
        hits = np.isin(keys, wanted) & (best.indices < best.n_cols)
        place = slice(done, done + rows.size)
        recall[place] = hits.sum(axis=1) / counts[rows]
        gain[place] = hits @ discount / ideal[np.minimum(counts[rows], k)]
        done += rows.size
    if not users.size:
        return {f"recall@{k}": None, f"ndcg@{k}": None, "users": 0}
    return {
        f"recall@{k}": float(recall.mean()),
        f"ndcg@{k}": float(gain.mean()),
        "users": int(users.size),
    }


def without(held: CSR, seen: CSR) -> CSR:
    """Return the entries of `held` that are not in `seen`."""
    rows = np.repeat(np.arange(held.shape[0], dtype=np.uint32), held.row_counts)
    known = np.empty(held.nnz, np.bool_)
    _cpu.mark_seen(seen.indptr, seen.indices, rows, held.indices, known)
    indptr = np.zeros(held.shape[0] + 1, np.uint64)
    np.cumsum(np.bincount(rows[~known], minlength=held.shape[0]), out=indptr[1:], dtype=np.uint64)
    return CSR(indptr, held.indices[~known], held.data[~known], held.shape)
