"""Co-occurrence products A'A V in blocks, of which no factor is ever whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.blend import _cpu_latent
from sparsenum._threads import by_rows
from sparsenum.sparse import CSR, rows_times_sparse

ENTRIES = 2**24  # of a dense block: 64 MiB, one block for 65,536 items of 256 columns
USERS = 2**20  # entries of the block of users at work, which has to stay in the cache


@dataclass(frozen=True, slots=True)
class CoOccurrence:
    """Products of A'A with sparse rows of items.

    Attributes
    ----------
    A : CSR, shape (n_users, n_items)
        How much each interaction counts, float32.
    own : ndarray of float32, shape (n_items,)
        Diagonal of A'A: what an item gets from itself.
    n_threads : int
        Threads; no result depends on them.
    entries : int
        Numbers in a block of items.
    """

    A: CSR
    own: NDArray[np.float32]
    n_threads: int
    entries: int

    @classmethod
    def of(cls, A: CSR, n_threads: int, entries: int | None) -> Self:
        """Return the products for a matrix."""
        own = np.bincount(A.indices, A.data.astype(np.float64) ** 2, A.shape[1])
        return cls(A, own.astype(np.float32), n_threads, ENTRIES if entries is None else entries)

    def blocks(self, dim: int) -> Iterator[slice]:
        """Yield ranges of items whose rows of `dim` columns fit in a block."""
        size = max(1, self.entries // dim)
        for start in range(0, self.A.shape[1], size):
            yield slice(start, min(start + size, self.A.shape[1]))

    def gram_of_users(self, V: CSR) -> NDArray[np.float64]:
        """Return V'A'A V, from the users' side."""
        gram = np.zeros((V.shape[1], V.shape[1]))
        for _, Z in self._users(V):
            gram += Z.T @ Z
        return gram

    def of_items(self, V: CSR, items: slice) -> NDArray[np.float32]:
        """Return the rows of a range of items of (A'A - diagonal) V."""
        A, Y = self.A, np.zeros((items.stop - items.start, V.shape[1]), np.float32)
        _cpu_latent.subtract_own(*V.arrays, np.uint64(items.start), self.own, Y)
        for user, Z in self._users(V):

            def add(rows: slice, user: int = user, Z: NDArray[np.float32] = Z) -> None:
                first = np.uint64(items.start + rows.start)
                triple = A.arrays
                _cpu_latent.add_pulls(*triple, np.uint64(user), Z, first, Y[rows])

            by_rows(add, Y.shape, self.n_threads)
        return Y

    def _users(self, V: CSR) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield blocks of rows of A V, with the first user of each."""
        size = max(1, USERS // V.shape[1])
        for start in range(0, self.A.shape[0], size):
            yield start, rows_times_sparse(self.A, V, start, min(start + size, self.A.shape[0]))
