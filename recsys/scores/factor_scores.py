"""Scores from two sparse tables, and the best of them without computing them all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.scores import _cpu
from sparsenum.sparse import CSR, ELL, spmv

WIDTH = 128  # users scored side by side: always as many, so that a score never depends on company
FEW = 16  # users up to which each is searched alone: a block of WIDTH costs as much as 16
TILE = 512  # items scored before the best are picked out, while their scores are in cache
STAGES = (
    0,
    2 * TILE,
    4 * TILE,
    16 * TILE,
)  # where users are sorted again by how far down the list they must look


class FactorScores:
    """Scores w_u . v_i of users and items with sparse rows w and v.

    Parameters
    ----------
    users : CSR, shape (n_users, dim)
        Rows w, float32.
    items : CSR, shape (n_items, dim)
        Rows v, float32.
    """

    def __init__(self, users: CSR, items: CSR) -> None:
        self.users, self.items = users, items
        self.shape = users.shape[0], items.shape[0]

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for some users, shape (len(rows), n_items)."""
        out = np.empty((rows.size, self.items.shape[0]), np.float32)
        tile = np.empty((self.items.shape[0], WIDTH), np.float32)
        for start in range(0, rows.size, WIDTH):
            block = rows[start : start + WIDTH]
            score(self.items, 0, columns(self._vectors(block)), tile)
            out[start : start + WIDTH] = tile[:, : block.size].T
        return out

    def best(
        self, rows: NDArray[np.int64], k: int, hidden: CSR, permitted: NDArray[np.int64] | None
    ) -> ELL:
        """Return the k best items of some users; ties go to the lower item.

        Items come by falling norm. As ``w . v <= |w| |v|``, a user is done with all that follow
        once this falls short of the k-th best score so far; users who must look equally far
        share a block.

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
            Items and scores, shape (len(rows), k). Cost at most that of all scores, O(n_items s)
            for a user and rows of s weights; a third of it on Gowalla.
        """
        ranked = self._ranked
        if permitted is not None:
            ranked = ranked.only(permitted)
        barred = ranked.places_of(hidden.take(rows))
        lists = no_lists(rows.size, k, self.items.shape[0])
        if rows.size <= FEW:
            search_rows(ranked, self._vectors(rows), slack(self._longest), barred, lists)
            return lists
        sizes = row_norms(self.users.take(rows)) * slack(self._longest)
        merge_best(ranked, lambda lanes: self._vectors(rows[lanes]), sizes, barred, lists)
        return lists

    def parts(
        self, user: int, item: int
    ) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.float32]]:
        """Return the columns that a user and an item share, and the product of their weights."""
        w, v = self.users.take(np.array([user])), self.items.take(np.array([item]))
        columns, at_user, at_item = np.intersect1d(w.indices, v.indices, return_indices=True)
        return columns, (w.data[at_user] * v.data[at_item]).astype(np.float32)

    def cosines(self, item: int) -> NDArray[np.float32]:
        """Return the cosine of each item's row with that of one; 0 where a row is all zeros."""
        norms = row_norms(self.items)
        norms[norms == 0] = np.inf
        row = self.items.take(np.array([item])).to_dense()[0]
        cosines: NDArray[np.float32] = spmv(self.items, row) / norms / norms[item]
        return cosines

    def of(self, users: CSR) -> "FactorScores":
        """Return the scores of the same items for other users."""
        others = FactorScores(users, self.items)
        others.__dict__["_ranked"] = self._ranked
        return others

    @cached_property
    def _ranked(self) -> "Ranked":
        return Ranked.of(self.items)

    @cached_property
    def _longest(self) -> int:
        return min(int(side.row_counts.max(initial=0)) for side in (self.users, self.items))

    def _vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows of some users, dense."""
        vectors: NDArray[np.float32] = self.users.take(rows).to_dense()
        return vectors


@dataclass(frozen=True)
class Ranked:
    """Items by falling norm: their rows, numbers and norms."""

    table: CSR
    items: NDArray[np.uint32]
    norms: NDArray[np.float32]
    n_items: int

    @classmethod
    def of(cls, table: CSR) -> "Ranked":
        """Return the items that have these rows."""
        norms = row_norms(table)
        order = np.argsort(-norms, kind="stable")
        return cls(table.take(order), order.astype(np.uint32), norms[order], order.size)

    @cached_property
    def place(self) -> NDArray[np.uint32]:
        """The place of each item, by number; one past the last for those that are not here."""
        place = np.full(self.n_items, self.items.size, np.uint32)
        place[self.items] = np.arange(self.items.size)
        return place

    @cached_property
    def longest(self) -> int:
        """Weights of the longest row."""
        return int(self.table.row_counts.max(initial=0))

    def only(self, permitted: NDArray[np.int64]) -> "Ranked":
        """Return the items that are among the permitted, in the same order."""
        kept = np.flatnonzero(np.isin(self.items, permitted))
        return Ranked(self.table.take(kept), self.items[kept], self.norms[kept], self.n_items)

    def places_of(self, rows: CSR) -> CSR:
        """Return rows of items as sorted rows of their places here."""
        n, places = self.items.size, self.place[rows.indices]
        if rows.shape[0] == 1:
            places.sort()
        else:
            places = (np.sort(rows.rows * (n + 1) + places) % (n + 1)).astype(np.uint32)
        return CSR(rows.indptr, places, rows.data, (rows.shape[0], n + 1))


def no_lists(n_rows: int, k: int, n_items: int) -> ELL:
    """Return lists that hold nothing yet."""
    indices = np.full((n_rows, k), n_items, np.uint32)
    return ELL(indices, np.full((n_rows, k), -np.inf, np.float32), n_items)


def columns(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of up to WIDTH users as columns of a dense block, (dim, WIDTH)."""
    block = np.zeros((vectors.shape[1], WIDTH), np.float32)
    block[:, : len(vectors)] = vectors.T
    return block


def search_rows(
    ranked: Ranked, vectors: NDArray[np.float32], wider: np.float32, barred: CSR, lists: ELL
) -> None:
    """Merge into the lists of a few users whatever items score better, as `merge_best` does."""
    sizes = np.sqrt(np.square(vectors).sum(axis=1)) * wider
    _cpu.search_rows(
        vectors,
        sizes,
        ranked.table.arrays,
        ranked.items,
        ranked.norms,
        (barred.indptr, barred.indices),
        (lists.indices, lists.data),
    )


def merge_best(
    ranked: Ranked,
    vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    sizes: NDArray[np.float32],
    barred: CSR,
    lists: ELL,
) -> None:
    """Merge into the lists of some users whatever items score better than what they hold.

    `vectors` gives those of some of the users, `sizes` holds their norms with slack for rounding,
    and `barred` the places of `ranked` that are not for each.
    """
    for begin, end in pairwise((*STAGES, max(STAGES[-1], ranked.items.size))):
        if begin >= ranked.items.size:
            break
        reach = np.divide(lists.data[:, -1], sizes, where=sizes > 0, out=np.zeros_like(sizes))
        order = np.argsort(-reach, kind="stable")
        for start in range(0, order.size, WIDTH):
            lanes = order[start : start + WIDTH]
            _look(ranked, range(begin, end, TILE), vectors, lanes, barred, sizes[lanes], lists)


def _look(
    ranked: Ranked,
    tiles: range,
    vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    lanes: NDArray[np.int64],
    barred: CSR,
    sizes: NDArray[np.float32],
    lists: ELL,
) -> None:
    """Merge tiles of items into the lists of a block of users, as long as any item can enter."""
    worst = np.full(WIDTH, np.inf, np.float32)
    worst[: lanes.size] = lists.data[lanes, -1]
    if not _within(ranked, tiles.start, sizes, worst):
        return
    X = columns(vectors(lanes))
    indices, values = lists.indices[lanes], lists.data[lanes]
    scores = np.empty((TILE, WIDTH), np.float32)
    for first in tiles:
        if not _within(ranked, first, sizes, worst):
            break
        items = ranked.items[first : first + TILE]
        tile = scores[: items.size]
        score(ranked.table, first, X, tile)
        _cpu.hide_tile(barred.indptr, barred.indices, lanes, np.uint64(first), tile)
        _cpu.merge_tile(tile, items, worst, indices, values)
    lists.indices[lanes], lists.data[lanes] = indices, values


def _within(
    ranked: Ranked, first: int, sizes: NDArray[np.float32], worst: NDArray[np.float32]
) -> bool:
    """Return whether an item from `first` on may enter the list of any user of a block."""
    is_left = first < ranked.items.size
    return is_left and bool((sizes * ranked.norms[first] >= worst[: sizes.size]).any())


def row_norms(table: CSR) -> NDArray[np.float32]:
    """Return the Euclidean length of each row."""
    row = table.rows
    squares = np.bincount(row, table.data.astype(np.float64) ** 2, table.shape[0])
    return np.sqrt(squares).astype(np.float32)


def score(table: CSR, first: int, X: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the scores of the rows of a table from `first` on for a block of users."""
    _cpu.score_tile(*table.arrays, np.uint64(first), X, out)


def rows_times(X: NDArray[np.float32], M: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the product X M, of which a row never depends on the other rows of X.

    A BLAS may add up equal rows in another order at another place, which changes their last bits.
    """
    padded = np.zeros((-(-len(X) // 4) * 4, X.shape[1]), np.float32)
    padded[: len(X)] = X
    product = np.zeros((len(padded), M.shape[1]), np.float32)
    _cpu.rows_times(padded, np.ascontiguousarray(M), product)
    return product[: len(X)]


def full_rows(table: NDArray[np.float32]) -> CSR:
    """Return a dense table as one with all of its places."""
    n, dim = table.shape
    columns = np.tile(np.arange(dim, dtype=np.uint16), n)
    return CSR(np.arange(n + 1, dtype=np.uint64) * np.uint64(dim), columns, table.ravel(), (n, dim))


def slack(longest: int) -> np.float32:
    """Return by how much rounding may lift a score of `terms` terms above the product of norms."""
    return np.float32(1 + (longest + 8) * 2.0**-22)
