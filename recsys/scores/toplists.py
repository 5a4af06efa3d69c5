"""Top-k lists of many users, a block of users at a time."""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recsys.scores import _cpu
from sparsenum.sparse import CSR, ELL, row_top_k

BLOCK = 256  # users whose scores of all items are held at a time
PLACES = 2**18  # places of lists that are filled at a time where no such scores are held

Scores = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@runtime_checkable
class Searcher(Protocol):
    """Scores that are searched for the best without computing them all."""

    shape: tuple[int, int]

    def best(
        self, rows: NDArray[np.int64], k: int, hidden: CSR, permitted: NDArray[np.int64] | None
    ) -> ELL:
        """Return the k best items of some users; ties go to the lower item."""


def is_searcher(scores: object) -> TypeGuard[Searcher]:
    """Return whether scores can be searched; to check the whole protocol takes a while."""
    return hasattr(scores, "best")


def top_items(
    scores: Scores,
    users: NDArray[np.int64],
    k: int,
    hidden: CSR | None,
    permitted: NDArray[np.int64] | None = None,
    block: int | None = None,
) -> Iterator[tuple[NDArray[np.int64], ELL]]:
    """Yield blocks of users and their k best items.

    Items in a user's row of `hidden`, and those not among the `permitted` if such are named, are
    left out; a user with fewer than k items left has unused places at the end (see `ELL`). Blocks
    are of `block` users, by default as many as are fast.
    """
    if is_searcher(scores):
        size = block or max(PLACES // k, BLOCK)
        if hidden is None:
            nothing = np.zeros(scores.shape[0] + 1, np.uint64), np.empty(0, np.uint32)
            hidden = CSR(*nothing, np.empty(0, np.float32), scores.shape)
        for start in range(0, users.size, size):
            rows = users[start : start + size]
            yield rows, scores.best(rows, k, hidden, permitted)
        return
    size = min(block or BLOCK, BLOCK)
    for start in range(0, users.size, size):
        rows = users[start : start + size]
        full = scores(rows)
        if hidden is not None:
            _cpu.hide_seen(hidden.indptr, hidden.indices, rows, full)
        if permitted is not None:
            barred = np.ones(full.shape[1], np.bool_)
            barred[permitted] = False
            full[:, barred] = -np.inf
        yield rows, row_top_k(full, k)
