"""Scores of histories from a graph, factors, walks and popularity of items, and the best lists."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.scores import _cpu, factor_scores
from recsys.scores.factor_scores import (
    Ranked,
    columns,
    merge_best,
    no_lists,
    rows_times,
    score,
    search_rows,
    slack,
)
from recsys.scores.walks import Walks, no_walks
from sparsenum.sparse import CSR, ELL, rows_times_sparse, spmv
from sparsenum.sparse.formats import index_type

USERS = 4096  # users whose vectors are held at a time, at most
PLACES = 2**22  # items that the graph touches for them, likewise


@dataclass(frozen=True, slots=True)
class Factors:
    """Sparse factors of items, and what makes them the scores of a history.

    Attributes
    ----------
    table : CSR, shape (n_items, dim)
        Rows V, float32.
    source_scale, target_scale : ndarray of float32, shape (n_items,)
        What the row of an item is multiplied by where it was taken, and where it is scored.
    user_map : ndarray of float32, shape (dim, dim)
        M, which makes the vector of a user of the sum of the rows of what they took.
    """

    table: CSR
    source_scale: NDArray[np.float32]
    target_scale: NDArray[np.float32]
    user_map: NDArray[np.float32]


@dataclass(frozen=True)
class ItemTables:
    """The tables that a model without user parameters scores by; at least one is given.

    With d_u items in the history of user u, the score of item j is ``d_u^-1/2 sum_i W_ij``
    from the graph W, plus ``target_j (M sum_i d_u^-1/2 source_i V_i) . V_j`` from the factors,
    plus what the walks from i to j weigh, times d_u^-1/2, plus the popularity of j; the sums over
    the items i of the history.

    Attributes
    ----------
    graph : CSR, shape (n_items, n_items), optional
        Row i holds what item i, where taken, adds to the scores of others, float32.
    factors : Factors, optional
        Factors of the same items.
    walks : Walks, optional
        What users took, and what walks over it weigh.
    popularity : ndarray of float32, shape (n_items,), optional
        What is added to the score of each item for everybody.
    """

    graph: CSR | None
    factors: Factors | None
    walks: Walks | None = None
    popularity: NDArray[np.float32] | None = None

    @property
    def n_items(self) -> int:
        """Number of items."""
        if self.popularity is not None:
            return self.popularity.size
        if self.walks is not None:
            return self.walks.pairs.shape[1]
        table = self.graph if self.factors is None else self.factors.table
        assert table is not None
        return table.shape[0]

    @cached_property
    def ways(self) -> Walks:
        """The walks, or such as lead nowhere."""
        return no_walks(self.n_items) if self.walks is None else self.walks

    @cached_property
    def edges(self) -> CSR:
        """The graph, or one without edges."""
        return _empty((self.n_items, self.n_items)) if self.graph is None else self.graph

    @cached_property
    def ranked(self) -> Ranked:
        """The rows that items are scored by, by falling norm; popularity is their last column."""
        table = _empty((self.n_items, 1))
        if self.factors is not None:
            table = self.factors.table
            scales = np.repeat(self.factors.target_scale, table.row_counts)
            table = table.with_data(table.data * scales)
        return Ranked.of(table if self.popularity is None else _widened(table, self.popularity))

    @cached_property
    def _mapping(self) -> NDArray[np.float32]:
        """The map of the users by its columns, as vectors are multiplied with it."""
        assert self.factors is not None
        return np.ascontiguousarray(self.factors.user_map.T)

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the similarity of each item to one: its score for a history of that one item.

        So the graph counts as well as the factors, and both as they do in lists.
        """
        alone = CSR(
            np.array([0, 1], np.uint64),
            np.array([item], np.uint32),
            np.ones(1, np.float32),
            (1, self.n_items),
        )
        row: NDArray[np.float32] = HistoryScores(alone, self)(np.array([0]))[0]
        return row

    def vectors(self, taken: CSR) -> NDArray[np.float32]:
        """Return the vectors of users with these histories; none depends on company."""
        vectors = np.zeros((taken.shape[0], 1), np.float32)
        if self.factors is not None:
            weighted = taken.with_data(_weights(taken) * self.factors.source_scale[taken.indices])
            sums = rows_times_sparse(weighted, self.factors.table, 0, taken.shape[0])
            vectors = rows_times(sums, self._mapping)
        if self.popularity is None:
            return vectors
        return np.column_stack([vectors, np.ones(taken.shape[0], np.float32)])


class HistoryScores:
    """Scores of users by what they took.

    Parameters
    ----------
    taken : CSR, shape (n_users, n_items)
        Their histories; only the pattern counts.
    tables : ItemTables
        What they are scored by.
    """

    def __init__(self, taken: CSR, tables: ItemTables) -> None:
        self.taken, self.tables = taken, tables
        self.shape = taken.shape

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for some users, shape (len(rows), n_items)."""
        ranked = self.tables.ranked
        out = np.empty((rows.size, self.shape[1]), np.float32)
        tile = np.empty((self.shape[1], factor_scores.WIDTH), np.float32)
        nothing = _empty(self.shape)
        for some, reach in self._blocks(rows, nothing, self.shape[1]):
            block = out[some]
            vectors = self.tables.vectors(self.taken.take(rows[some]))
            for start in range(0, len(block), factor_scores.WIDTH):
                part = block[start : start + factor_scores.WIDTH]
                score(ranked.table, 0, columns(vectors[start : start + factor_scores.WIDTH]), tile)
                part[:] = tile[ranked.place, : len(part)].T
            # What the graph touches is scored by the kernel that lists it, to the same bits.
            found = self._touched(rows[some], reach, nothing, ranked, vectors)
            user = np.repeat(np.arange(len(block)), found.barred.row_counts)
            block[user, ranked.items[found.places]] = found.scores
        return out

    def contributions(
        self, user: int, item: int
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """Return what each item taken adds to the score of one for a user, by number.

        What popularity adds belongs to no item: it is split evenly.

        Parameters
        ----------
        user, item : int
            Their numbers.

        Returns
        -------
        tuple
            The items taken, and what each adds by each part, which all add up to the score, to
            rounding: by the graph and by the factors, and by walks and popularity if they count.
        """
        row = self.taken.take(np.array([user]))
        taken, weights = row.indices.astype(np.int64), _weights(row)
        by_factors = np.zeros(taken.size, np.float32)
        if (of := self.tables.factors) is not None:
            target = rows_times(of.table.take(np.array([item])).to_dense(), of.user_map)[0]
            target *= of.target_scale[item]
            products = spmv(of.table.take(taken), target).astype(np.float32)
            by_factors = weights * of.source_scale[taken] * products
        parts = {
            "graph": weights * _column(self.tables.edges.take(taken), item),
            "factors": by_factors,
        }
        if self.tables.walks is not None:
            parts["walks"] = weights * self.tables.walks.to(item, taken)
        if self.tables.popularity is not None:
            even = self.tables.popularity[item] / max(taken.size, 1)
            parts["popularity"] = np.full(taken.size, even, np.float32)
        return taken, parts

    def best(
        self, rows: NDArray[np.int64], k: int, hidden: CSR, permitted: NDArray[np.int64] | None
    ) -> ELL:
        """Return the k best items of some users; ties go to the lower item.

        The items that the graph touches, a few hundred for most users, are scored one by one.
        All others are scored by factors alone, so their bound holds (see `FactorScores.best`),
        and the touched, left out there, make it bite early.

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
            Items and scores, shape (len(rows), k). Memory is bounded by blocks of users.
        """
        ranked = self.tables.ranked
        if permitted is not None:
            ranked = ranked.only(permitted)
        lists = no_lists(rows.size, k, self.shape[1])
        for some, reach in self._blocks(rows, hidden, ranked.items.size):
            part = ELL(lists.indices[some], lists.data[some], self.shape[1])
            self._best(rows[some], reach, hidden, ranked, part)
        return lists

    def _blocks(self, rows: NDArray[np.int64], hidden: CSR, n: int) -> Iterator[tuple[slice, int]]:
        """Yield blocks of users, and how many of n items are touched for them at most."""
        reach = self._reach(rows, hidden, n)
        if rows.size <= factor_scores.FEW and reach.sum() <= PLACES:
            yield slice(0, rows.size), int(reach.sum())
            return
        full = np.cumsum(reach + PLACES // USERS) // PLACES
        for start, stop in pairwise([0, *np.flatnonzero(np.diff(full)) + 1, rows.size]):
            yield slice(start, stop), int(reach[start:stop].sum())

    def _reach(self, rows: NDArray[np.int64], hidden: CSR, n: int) -> NDArray[np.int64]:
        """Return how many of n items are touched or hidden, at most, for each user."""
        taken = self.taken.take(rows)
        edges, starts = (table.indptr.view(np.int64) for table in (self.tables.edges, hidden))
        items = taken.indices.astype(np.int64)
        touched = edges[items + 1] - edges[items]
        if self.tables.walks is not None:
            touched += self.tables.walks.reach[items]
        ends = np.concatenate([[0], np.cumsum(touched)])
        n_hidden = starts[rows + 1] - starts[rows]
        reach: NDArray[np.int64] = np.diff(ends[taken.indptr.view(np.int64)]) + n_hidden
        return np.minimum(reach, n)

    def _best(
        self, rows: NDArray[np.int64], reach: int, hidden: CSR, ranked: Ranked, lists: ELL
    ) -> None:
        vectors = self.tables.vectors(self.taken.take(rows))
        found = self._touched(rows, reach, hidden, ranked, vectors)
        _cpu.merge_touched(
            (found.ends, found.places, found.scores), ranked.items, (lists.indices, lists.data)
        )
        wider = slack(ranked.longest)
        if rows.size <= factor_scores.FEW:
            search_rows(ranked, vectors, wider, found.barred, lists)
            return
        sizes = np.sqrt(np.square(vectors).sum(axis=1)) * wider
        merge_best(ranked, lambda lanes: vectors[lanes], sizes, found.barred, lists)

    def _touched(
        self,
        rows: NDArray[np.int64],
        reach: int,
        hidden: CSR,
        ranked: Ranked,
        vectors: NDArray[np.float32],
    ) -> "Touched":
        """Return the scores of the items that the graph touches, and no score for the hidden."""
        n = ranked.items.size
        ends = np.zeros(rows.size + 1, np.uint64)
        places, scores = np.empty(reach, np.uint32), np.empty(reach, np.float32)
        _cpu.score_touched(
            rows,
            (self.taken.indptr, self.taken.indices),
            (hidden.indptr, hidden.indices),
            self.tables.edges.arrays,
            self.tables.ways.arrays,
            ranked.table.arrays,
            ranked.place,
            vectors,
            np.zeros(n, np.float32),
            np.zeros(n // 64 + 1, np.uint64),
            (ends, places, scores),
        )
        n_found = int(ends[-1])
        return Touched(ends, places[:n_found], scores[:n_found], n)


class Touched(NamedTuple):
    """Items that are scored one by one: where those of each user end, their places and scores."""

    ends: NDArray[np.uint64]
    places: NDArray[np.uint32]
    scores: NDArray[np.float32]
    n: int

    @property
    def barred(self) -> CSR:
        """Their places as rows of a table: what a search of all others must leave out."""
        shape = self.ends.size - 1, self.n
        return CSR(self.ends, self.places, np.empty(0, np.float32), shape)


def _weights(taken: CSR) -> NDArray[np.float32]:
    """Return d_u^-1/2 for each item that each user took."""
    counts = taken.row_counts
    return np.repeat(np.maximum(counts, 1).astype(np.float32) ** np.float32(-0.5), counts)


def _column(table: CSR, column: int) -> NDArray[np.float32]:
    """Return what each row holds in a column, 0 where nothing."""
    held = table.indices == column
    out = np.zeros(table.shape[0], np.float32)
    out[table.rows[held]] = table.data[held]
    return out


def _widened(table: CSR, column: NDArray[np.float32]) -> CSR:
    """Return a table with one more column, the last."""
    n, dim = table.shape
    ends = table.indptr[1:].view(np.int64)
    indices = np.insert(table.indices, ends, dim).astype(index_type(dim + 1))
    data = np.insert(table.data, ends, column)
    return CSR.from_counts(table.row_counts + 1, indices, data, (n, dim + 1))


def _empty(shape: tuple[int, int]) -> CSR:
    indptr = np.zeros(shape[0] + 1, np.uint64)
    return CSR(indptr, np.empty(0, np.uint32), np.empty(0, np.float32), shape)
