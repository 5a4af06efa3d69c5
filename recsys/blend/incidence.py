"""The interactions by users and by items, with the users in random order."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recsys.blend import _cpu_graph
from sparsenum.sparse import CSR
from sparsenum.sparse.formats import index_type, row_starts

Pattern = tuple[NDArray[np.uint64], NDArray[np.unsignedinteger[Any]]]
LOT = 0  # seed of the order: the same data have the same


@dataclass(frozen=True, slots=True)
class Incidence:
    """A pattern and its transpose. The first users are a random sample, in each list as in all.

    Attributes
    ----------
    users, items : tuple of ndarray
        Pointers and the items of each user; pointers and the users of each item, ascending.
    lengths, counts : ndarray of int64
        How many items each user has, how many users each item.
    reach : ndarray of uint64, shape (n_items,)
        How many other items the users of each have taken, added up.
    """

    users: Pattern
    items: Pattern
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]
    reach: NDArray[np.uint64]

    @classmethod
    def of(cls, matrix: CSR) -> Self:
        """Return both sides of a matrix, whose values do not count."""
        n_users, n_items = matrix.shape
        order = np.random.default_rng(LOT).permutation(n_users).astype(np.uint32)
        lengths, counts = matrix.row_counts[order], matrix.column_counts
        users = row_starts(lengths), np.empty(matrix.nnz, index_type(n_items))
        items = row_starts(counts), np.empty(matrix.nnz, index_type(n_users))
        reach = np.zeros(n_items, np.uint64)
        pattern = matrix.indptr, matrix.indices
        _cpu_graph.fill_sides(order, pattern, users, items[0][:-1].copy(), items[1], reach)
        return cls(users, items, lengths, counts, reach)
