"""What a model learns from in an epoch: each interaction, with items its user has not taken."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sparsenum.sparse import CSR

ROUNDS = 64  # in each of them a user has a few interactions at most


@dataclass(frozen=True, slots=True)
class Samples:
    """The interactions and the lots by which items are drawn to go with them.

    The items drawn are not stored: they follow from the seed and the number of the interaction,
    uniform among all items, and drawn anew a few times where the user has taken them. An
    interaction counts with ``log(1 + weight)``, scaled to mean one, so that one bulk order does
    not outvote a thousand baskets.

    Attributes
    ----------
    matrix : CSR, shape (n_users, n_items)
        The interactions, float32.
    users : ndarray of uint32, shape (nnz,)
        The user of each.
    scale : float
        One over the mean of ``log(1 + weight)``.
    n_negatives : int
        Items drawn for each interaction.
    seed : int
        Fixes what is drawn.
    """

    matrix: CSR
    users: NDArray[np.uint32]
    scale: float
    n_negatives: int
    seed: int = 0

    @classmethod
    def of(cls, matrix: CSR, n_negatives: int) -> Self:
        """Take over a matrix of interactions."""
        users = np.repeat(np.arange(matrix.shape[0], dtype=np.uint32), matrix.row_counts)
        scale = 1 / float(np.log1p(matrix.data).mean(dtype=np.float64))
        return cls(matrix, users, scale, n_negatives)

    def drawn_anew(self, rng: np.random.Generator) -> Self:
        """Return the same interactions with other items drawn."""
        return replace(self, seed=int(rng.integers(2**63)))

    def order(self, rng: np.random.Generator) -> NDArray[np.uint32]:
        """Return the numbers of all interactions, shuffled as far as memory likes it.

        Each falls into one of `ROUNDS` rounds by lot, and within a round users take turns in the
        order they are stored in: as good as a full shuffle, at half the time of an epoch.
        """
        rounds = rng.integers(ROUNDS, size=self.users.size, dtype=np.uint8)
        return np.argsort(rounds, kind="stable").astype(np.uint32)

    def arrays(self) -> tuple[Any, ...]:
        """Return what the kernels take."""
        return (
            self.matrix.indptr,
            self.matrix.indices,
            self.matrix.data,
            self.users,
            np.float32(self.scale),
            np.uint64(self.seed),
            self.n_negatives,
        )
