"""Walks from items to the users who took them and on to what else these took."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.sparse import CSR, transpose


@dataclass(frozen=True)
class Walks:
    """The interactions that walks follow, and the weights of users and items on the way.

    Attributes
    ----------
    pairs : CSR, shape (n_users, n_items)
        Items of each user; only the pattern counts.
    source_scale, target_scale : ndarray of float32, shape (n_items,)
        What a walk is multiplied by for the item that it starts from, and that it ends at.
    user_scale : ndarray of float32, shape (n_users,)
        Likewise for the user that it leads through.
    """

    pairs: CSR
    source_scale: NDArray[np.float32]
    user_scale: NDArray[np.float32]
    target_scale: NDArray[np.float32]

    @cached_property
    def by_item(self) -> CSR:
        """The users of each item."""
        return transpose(self.pairs)

    @cached_property
    def reach(self) -> NDArray[np.int64]:
        """How many items are read for a walk from each item, shape (n_items,)."""
        lengths = np.repeat(self.pairs.row_counts, self.pairs.row_counts)
        n_items = self.pairs.shape[1]
        return np.bincount(self.pairs.indices, lengths, n_items).astype(np.int64)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Both sides and all scales, as kernels take them."""
        return (
            self.pairs.arrays[:2],
            self.by_item.arrays[:2],
            self.source_scale,
            self.user_scale,
            self.target_scale,
        )

    def to(self, item: int, taken: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what walks from each of some items to one weigh."""
        through = np.zeros(self.pairs.shape[0], np.float32)
        users = self.by_item.take(np.array([item])).indices
        through[users] = self.user_scale[users] * self.target_scale[item]
        starts = self.by_item.take(taken)
        sums = np.bincount(starts.rows, through[starts.indices], taken.size)
        return (sums * self.source_scale[taken]).astype(np.float32)


def no_walks(n_items: int) -> Walks:
    """Return walks that lead nowhere."""
    nothing, ones = np.empty(0, np.float32), np.ones(n_items, np.float32)
    nobody = CSR(np.zeros(1, np.uint64), np.empty(0, np.uint32), nothing, (0, n_items))
    return Walks(nobody, ones, nothing, ones)
