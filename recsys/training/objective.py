"""The objective of training: a loss of the item a user took against items drawn at random."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sparsenum.sparse import CSR

ROUNDS = 64  # in each of them a user has a few interactions at most
PIECE = 2**16  # interactions that are looked at at a time


class Loss(NamedTuple):
    """A loss of the scores s of an item taken, i, and of the items drawn, j.

    Attributes
    ----------
    code : int
        What the kernels know it by.
    n_negatives : int
        Items drawn for each interaction, unless the user says.
    margin, weight : float
        The cosine above which a drawn item is pushed away, and how hard.
    """

    code: int
    n_negatives: int
    margin: float = 0.0
    weight: float = 0.0

    def constants(self) -> tuple[int, np.float32, np.float32]:
        """Return what the kernels take."""
        return self.code, np.float32(self.margin), np.float32(self.weight)


LOSSES = {
    "bpr": Loss(0, 1),  # mean_j softplus(s_j - s_i)
    "bce": Loss(1, 4),  # softplus(-s_i) + mean_j softplus(s_j)
    "softmax": Loss(2, 16),  # log(exp(s_i) + sum_j exp(s_j)) - s_i
    "ccl": Loss(3, 16, margin=0.4, weight=10.0),  # 1 - s_i + weight mean_j [s_j - m]+
}


@dataclass(frozen=True, slots=True)
class Samples:
    """The interactions, and the seed by which items are drawn to go with them.

    The items drawn are not stored: they follow from the seed and the number of the interaction,
    uniform among all items, and drawn again a few times where the user has taken them. An
    interaction counts with ``log(1 + weight)``, scaled to mean one, so that one bulk order does
    not outvote a thousand baskets.

    Attributes
    ----------
    matrix : CSR, shape (n_users, n_items)
        The interactions, float32.
    scale : float
        One over the mean of ``log(1 + weight)``.
    n_negatives : int
        Items drawn for each interaction.
    seed : int
        Fixes what is drawn.
    """

    matrix: CSR
    scale: float
    n_negatives: int
    seed: int = 0

    @classmethod
    def of(cls, matrix: CSR, n_negatives: int) -> Self:
        """Take over a matrix of interactions."""
        pieces = np.array_split(matrix.data, 1 + matrix.nnz // PIECE)
        total = sum(float(np.log1p(piece).sum(dtype=np.float64)) for piece in pieces)
        scale = matrix.nnz / total
        return cls(matrix, scale, n_negatives)

    def redrawn(self, rng: np.random.Generator) -> Self:
        """Return the same interactions with other items drawn."""
        return replace(self, seed=int(rng.integers(2**63)))

    def rounds(self, rng: np.random.Generator) -> Iterator[NDArray[np.uint32]]:
        """Yield the numbers of all interactions, shuffled as far as memory likes it.

        Each falls into one of `ROUNDS` rounds at random, and within a round users take turns in the
        order they are stored in: as good as a full shuffle, at half the time of an epoch, and a
        byte each is all that is kept of it.
        """
        round_of = rng.integers(ROUNDS, size=self.matrix.nnz, dtype=np.uint8)
        for k in range(ROUNDS):
            parts = [
                (start + np.flatnonzero(round_of[start : start + PIECE] == k)).astype(np.uint32)
                for start in range(0, round_of.size, PIECE)
            ]
            yield np.concatenate(parts)

    def arrays(self) -> tuple[Any, ...]:
        """Return what the kernels take."""
        return (
            self.matrix.indptr,
            self.matrix.indices,
            self.matrix.data,
            np.float32(self.scale),
            np.uint64(self.seed),
            self.n_negatives,
        )
