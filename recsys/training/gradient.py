"""The gradient of two sparse tables in all their places, active or not, in blocks of rows.

With products S = U V' and D the derivative of the loss by them, the gradient of U is D V and that
of V is D' U. D has an entry for each interaction and each item drawn, which is more than a small
budget has weights. So it, too, exists for some users at a time, and is made again where read
again: what was drawn follows from the seed of the samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.training import _cpu
from recsys.training.objective import Loss, Samples
from sparsenum import topology
from sparsenum.nn.table import Table
from sparsenum.sparse import CSR, rows_times_sparse

KEPT = 4  # drawn items of an interaction that the gradient to grow by is made of
BLOCK = 512  # rows of gradient that exist at a time
PIECE = 2**14  # interactions whose derivative exists at a time; a user's come together
WORKSPACE = 2**22  # bytes of the items' gradient that exist at a time, if weights are few
SHARE = 3  # and else as a multiple of the weights' own bytes: half of all at density 0.1

Blocks = Iterator[tuple[int, NDArray[Any]]]


class Derivative(Protocol):
    """The derivative of a loss with respect to each product, users by items."""

    def blocks(self, first: int, stop: int) -> Iterator[tuple[int, CSR]]:
        """Yield first user and rows, right in the columns first..stop - 1, as often as asked."""


@dataclass(frozen=True, slots=True)
class OfSamples:
    """The derivative of an epoch's loss, made from its samples whenever it is read.

    Exact for inactive weights, with two exceptions by name. Of more than `KEPT` items drawn for an
    interaction the first few stand for all, which leaves the gradient right in the mean. A loss
    of cosines also pulls each row along itself; that part is zero at inactive weights, and is left
    out at active ones.

    Attributes
    ----------
    samples : Samples
        The interactions and what was drawn to go with them.
    loss : Loss
        What to differentiate.
    users, items : Table
        The tables, as they are when the derivative is read.
    chosen : ndarray of int64, optional
        Interactions that count, in ascending order; by default all.
    """

    samples: Samples
    loss: Loss
    users: Table
    items: Table
    chosen: NDArray[np.int64] | None = None

    def blocks(self, first: int, stop: int) -> Iterator[tuple[int, CSR]]:
        """Yield first user and rows, right in the columns first..stop - 1, as often as asked."""
        starts = self.samples.matrix.indptr.view(np.int64)
        if self.chosen is not None:
            starts = np.searchsorted(self.chosen, starts)
        user = 0
        while user < starts.size - 1:
            full = int(np.searchsorted(starts, starts[user] + PIECE, "right")) - 1
            end = min(max(full, user + 1), user + BLOCK, starts.size - 1)
            yield user, self._rows(starts[user : end + 1], first, stop)
            user = end

    def _rows(self, starts: NDArray[np.int64], first: int, stop: int) -> CSR:
        """Return the rows whose interactions lie between these starts."""
        order = np.arange(starts[0], starts[-1], dtype=np.uint32)
        if self.chosen is not None:
            order = self.chosen[order].astype(np.uint32)
        shape = (order.size, 1 + min(self.samples.n_negatives, KEPT))
        columns, slopes = np.empty(shape, np.uint32), np.empty(shape, np.float32)
        _cpu.note(
            order,
            self.samples.arrays(),
            self.users.weights.arrays,
            self.items.weights.arrays,
            self.loss.constants(),
            first,
            stop,
            np.zeros(self.users.weights.shape[1], np.float32),
            columns,
            slopes,
        )
        indptr = (shape[1] * (starts - starts[0])).astype(np.uint64)
        rows = (starts.size - 1, self.samples.matrix.shape[1])
        return CSR(indptr, columns.ravel(), slopes.ravel(), rows)

    def whole(self) -> CSR:
        """Return all of it at once."""
        shape = self.samples.matrix.shape
        blocks = [block for _, block in self.blocks(0, shape[1])]
        counts = np.concatenate([block.row_counts for block in blocks])
        indices = np.concatenate([block.indices for block in blocks])
        data = np.concatenate([block.data for block in blocks])
        return CSR.from_counts(counts, indices, data, shape)


@dataclass(frozen=True, slots=True)
class Kept:
    """A derivative that is held as a whole, as smoothing it over epochs takes."""

    matrix: CSR

    def blocks(self, first: int, stop: int) -> Iterator[tuple[int, CSR]]:
        """Yield first user and rows, as often as asked."""
        indptr, indices, data = self.matrix.arrays
        n, m = self.matrix.shape
        for user in range(0, n, BLOCK):
            starts = indptr[user : user + BLOCK + 1]
            some = slice(int(starts[0]), int(starts[-1]))
            yield user, CSR(starts - starts[0], indices[some], data[some], (starts.size - 1, m))


class Pull:
    """The absolute gradient at every place of the tables, active or not, in blocks of rows.

    It can be read as often as needed. Without a derivative no place is preferred.
    """

    def __init__(self, derivative: Derivative | None, users: CSR, items: CSR) -> None:
        self.derivative, self.users, self.items = derivative, users, items
        some = max(WORKSPACE, SHARE * (users.data.nbytes + items.data.nbytes))
        room = min(max(1, some // (4 * items.shape[1])), items.shape[0])
        self.of_items = np.zeros((room, items.shape[1]), np.float32)
        self.begun = False

    def on_users(self) -> Blocks:
        """Yield |D V|, and begin with D' U, so that D is read once less."""
        if self.derivative is None:
            yield from topology.no_preference(self.users.shape)
            return
        self.of_items[:] = 0
        for user, rows in self.derivative.blocks(0, self.items.shape[0]):
            self._add(rows, user, 0, self.of_items)
            gradient = rows_times_sparse(rows, self.items, 0, rows.shape[0])
            del rows  # before the next are made
            yield user, np.abs(gradient, out=gradient)
        self.begun = True

    def on_items(self) -> Blocks:
        """Yield |D' U|, for which D is read once for as many items as the workspace holds."""
        if self.derivative is None:
            yield from topology.no_preference(self.items.shape)
            return
        n = self.items.shape[0]
        for first in range(0, n, len(self.of_items)):
            gradient = self.of_items[: n - first]
            if not self.begun:
                gradient[:] = 0
                for user, rows in self.derivative.blocks(first, first + len(gradient)):
                    self._add(rows, user, first, gradient)
            self.begun = False
            np.abs(gradient, out=gradient)
            for start in range(0, len(gradient), BLOCK):
                yield first + start, gradient[start : start + BLOCK]

    def _add(self, rows: CSR, user: int, first: int, gradient: NDArray[np.float32]) -> None:
        """Add some rows of D to the gradient of the items from the first on."""
        by = self.users.arrays
        _cpu.add_products(*rows.arrays, by, user, first, gradient)

    def on_both(self) -> Blocks:
        """Yield the first above the second."""
        n = self.users.shape[0]
        return chain(self.on_users(), ((n + first, block) for first, block in self.on_items()))
