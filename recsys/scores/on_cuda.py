"""Lists of the best items from a CUDA device: tables go there, and only lists come back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.scores import _cuda
from recsys.scores.factor_scores import FactorScores
from recsys.scores.history_scores import HistoryScores
from recsys.scores.walks import Walks
from sparsenum import _cuda as device
from sparsenum.sparse import CSR, ELL

Array = Any  # on the device
CELLS = 2**6 if device.SIMULATED else 2**27  # scores, and numbers of users' vectors, at a time
USERS = 2**14  # at a time at most: a grid can be 2**16 warps of users wide
SHARE = 1 if device.SIMULATED else 64  # items that a warp has at least


class DeviceScores:
    """Scores of all items for users, and the best of them, on a CUDA device.

    Parameters
    ----------
    scores : FactorScores or HistoryScores
        What computes them on the CPU. Vectors of histories are made there in any case.
    """

    def __init__(self, scores: FactorScores | HistoryScores) -> None:
        self.scores, self.shape = scores, scores.shape
        if isinstance(scores, FactorScores):
            self.users, table = _on_device(scores.users), scores.items
        else:
            self.graph = _on_device(scores.tables.edges)
            self.walks = _walks_on_device(scores.tables.walks)
            ranked = scores.tables.ranked
            table = ranked.table.take(ranked.place.astype(np.int64))
        self.dim, self.table = table.shape[1], _on_device(table)

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for some users, shape (len(rows), n_items)."""
        everything = np.ones(self.shape[1], np.uint8)
        scores: NDArray[np.float32] = self._all(rows, device.to_device(everything)).copy_to_host()
        return scores

    def best(
        self, rows: NDArray[np.int64], k: int, hidden: CSR, permitted: NDArray[np.int64] | None
    ) -> ELL:
        """Return the k best items of some users; ties go to the lower item.

        All items are scored, for as many users as memory is kept for; their k-th best score is
        found by its bits, and what is as good is sorted.

        Parameters
        ----------
        rows : ndarray
            The users.
        k : int
            Length of the lists.
        hidden : CSR, shape (n_users, n_items)
            What must not appear in the list of each user.
        permitted : ndarray, optional
            The items to choose from; all by default.

        Returns
        -------
        ELL
            Items and scores, shape (len(rows), k). Cost O(n_items s) for a user and rows of s
            weights, and O(n_items + k log^2 k).
        """
        mask = np.ones(self.shape[1], np.uint8)
        if permitted is not None:
            mask[:] = 0
            mask[permitted] = 1
        places = 1 << (k - 1).bit_length()
        at_a_time = int(max(1, min(rows.size, USERS, CELLS // max(self.dim, self.shape[1]))))
        blocks = max(1, min(at_a_time, device.MOST_BLOCKS, CELLS // places))
        work = device.empty((blocks, places), np.uint64)
        lists = device.empty((rows.size, k), np.uint32), device.empty((rows.size, k), np.float32)
        allowed = device.to_device(mask)
        for first in range(0, rows.size, at_a_time):
            some = rows[first : first + at_a_time]
            scores = self._all(some, allowed)
            barred = _on_device(hidden.take(some))
            _cuda.hide[device.per_row(some.size)](*barred[:2], scores)
            _cuda.best[blocks, device.THREADS](scores, first, work, *lists)
        items, values = (array.copy_to_host() for array in lists)
        return ELL(items, values, self.shape[1])

    def _all(self, rows: NDArray[np.int64], permitted: Array) -> Array:
        """Return the scores of all items for some users, minus infinity for those not permitted."""
        scores = device.empty((rows.size, self.shape[1]), np.float32)
        blocks = device.per_row(-(-self.shape[1] // SHARE))[0]
        grid: Any = ((blocks, -(-rows.size // device.LANES)), (device.THREADS, 1))
        _cuda.score[grid](*self.table, permitted, self._vectors(rows), scores)
        if isinstance(self.scores, HistoryScores):
            taken = _on_device(self.scores.taken.take(rows))
            grid = device.per_row(rows.size)
            _cuda.add_graph[grid](*taken[:2], *self.graph, scores)
            if self.walks is not None:
                _cuda.add_walks[grid](*taken[:2], *self.walks, scores)
        return scores

    def _vectors(self, rows: NDArray[np.int64]) -> Array:
        """Return the vectors of some users as columns, shape (dim, len(rows))."""
        if isinstance(self.scores, HistoryScores):
            taken = self.scores.taken.take(rows)
            return device.to_device(self.scores.tables.vectors(taken).T, np.float32)
        X = device.empty((self.dim, rows.size), np.float32)
        numbers = device.to_device(rows, np.uint32)
        _cuda.expand[device.per_item(rows.size)](*self.users, numbers, X)
        return X


def on_device(scores: Any, model: str) -> DeviceScores:
    """Return a scorer that makes the same lists on a CUDA device."""
    if not isinstance(scores, FactorScores | HistoryScores):
        raise ValueError(
            f"device must be 'cpu' for {model}: got 'cuda', which ranks by tables of users or "
            "histories only: SparseMF, SparseALS, LightGCN and ItemBlend"
        )
    return DeviceScores(scores)


def _walks_on_device(walks: Walks | None) -> tuple[Array, ...] | None:
    if walks is None:
        return None
    sides = *_on_device(walks.pairs)[:2], *_on_device(walks.by_item)[:2]
    scales = walks.source_scale, walks.user_scale, walks.target_scale
    return *sides, *(device.to_device(scale, np.float32) for scale in scales)


def _on_device(table: CSR) -> tuple[Array, Array, Array]:
    indices, data = table.indices, table.data
    if not table.nnz:  # nothing has no layout
        indices, data = np.zeros(1, np.uint32), np.zeros(1, np.float32)
    return (
        device.to_device(table.indptr, np.uint64),
        device.to_device(indices, np.uint32),
        device.to_device(data, np.float32),
    )
